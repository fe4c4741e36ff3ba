# fleetctl: "make help" lists the targets.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

ARCHS   := amd64 arm64 arm 386 riscv64 ppc64le s390x
HELPERS := $(ARCHS:%=cmd/fleetctl/helpers/identify-linux-%.gz)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# What the helper is made of; the embedded ones are rebuilt when any of it changes.
IDENTIFY := $(shell find cmd/identify enroll/tpm -name '*.go' -not -name '*_test.go') go.mod go.sum Makefile

# Debian packages that the tests, the lab and the demo need; TEST_APT in full, DEMO_APT for the demo alone.
DEMO_APT := swtpm openssh-client
TEST_APT := $(DEMO_APT) swtpm-tools ansible-core openssh-server sudo debootstrap systemd-container iproute2 zstd jq procps \
            busybox ksh fish csh tcsh zsh groff-base opendoas openssl util-linux passwd gcc libc6-dev qemu-user-static \
            chromium poppler-utils rpm

# Debian packages of make vm.
VM_APT := qemu-system-x86 debootstrap swtpm swtpm-tools openssh-client kmod cpio e2fsprogs xz-utils zstd

.PHONY: help build helpers test lint lab vm demo bench fuzz inventories life chaos clean deps snapshot release-snapshot reproducible \
        release rename share
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: helpers ## bin/fleetctl with the helpers for every architecture, and bin/fleetsim
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/fleetctl ./cmd/fleetsim
	@ls -l bin/fleetctl | awk '{ printf "%-28s %10d bytes\n", $$9, $$5 }'

helpers: $(HELPERS)
	@for a in $(ARCHS); do \
	  printf '%-28s %10d bytes, compressed %d\n' "identify-linux-$$a" \
	    "$$(stat -c %s bin/helpers/identify-linux-$$a)" "$$(stat -c %s cmd/fleetctl/helpers/identify-linux-$$a.gz)"; \
	done

# softfloat and GOARM=5 run on every board of the architecture; the helper does no arithmetic that would mind. Without
# inlining (-l) it is smaller.
cmd/fleetctl/helpers/identify-linux-%.gz: $(IDENTIFY)
	@mkdir -p bin/helpers
	CGO_ENABLED=0 GOOS=linux GOARCH=$* GOARM=5 GO386=softfloat \
	  go build -trimpath -gcflags=all=-l -ldflags='-s -w' -o bin/helpers/identify-linux-$* ./cmd/identify
	gzip -9nc bin/helpers/identify-linux-$* >$@

# -count=1: what the tests of test/ run is a program, whose changes are not seen by the cache of Go. Scripts run the command line
# hundreds of times, and with -race each start of it takes a second: what they run is run in process with -race as well.
# -p 1: two fleets of hosts at once on two cores take longer than one after the other, until a host's time is over.
test: deps build ## every test: units with -race, real sshd, real TPM emulators, and the lab of real hosts (root)
	go vet ./...
	go test -race -timeout 45m -skip '^TestScripts$$' ./...
	go test -timeout 25m -run '^TestScripts$$' ./cmd/fleetctl
	cd test && go vet -tags vm ./... && FLEETCTL=$(CURDIR)/bin/fleetctl go test -p 1 -count=1 -timeout 40m ./...

lint: ## golangci-lint, gofmt, go vet for macOS, and govulncheck where its database can be reached
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	GOOS=darwin GOARCH=arm64 go vet ./...
	go tool -modfile=test/tools/go.mod golangci-lint run ./...
	cd test && go tool -modfile=tools/go.mod golangci-lint run --config ../.golangci.yml --build-tags vm ./...
	.ci/vulns

lab: deps build ## the end-to-end test on a laboratory of real hosts (root); ODD=all: all odd hosts, ODD=TEXT: some
	cd test && FLEETCTL=$(CURDIR)/bin/fleetctl ODD=$(ODD) go test -v -count=1 -timeout 30m ./e2e/...

vm: build ## a host's life with a real kernel, its TPM driver and udevd, in QEMU without KVM (root)
	@.ci/need $(VM_APT)
	cd test && FLEETCTL=$(CURDIR)/bin/fleetctl go test -tags vm -v -count=1 -timeout 40m ./vm

demo: build ## the main job at once, on 20 simulated hosts (no root but for installing swtpm)
	@.ci/need $(DEMO_APT)
	bin/fleetsim -demo

bench: build ## benchmarks of every package, then scans of simulated fleets
	go test -run '^$$' -bench . -benchmem ./...
	cd test && FLEETCTL=$(CURDIR)/bin/fleetctl go test -run '^$$' -bench . -benchmem ./...

FUZZTIME ?= 30s
# Making a find shorter may take a minute each: ten tries do.
fuzz: ## every fuzz target for FUZZTIME (30s)
	@for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$p; \
	  done; \
	done

INVENTORIES ?= $(CURDIR)/bin/inventories
inventories: build ## fleetctl and ansible-inventory on inventories of public projects (test/inventories/sources.txt), which git brings
	@.ci/need ansible-core
	cd test && FLEETCTL=$(CURDIR)/bin/fleetctl INVENTORIES=$(INVENTORIES) go test ./inventories -v -count=1 -timeout 60m

HISTORIES ?= 20000
life: ## HISTORIES (20000) random histories of simulated fleets, others each time, held against the life of a rule
	cd test && go test ./life -run TestLife -count=1 -timeout 0 -life.histories=$(HISTORIES) -life.length=26 -rapid.seed=0

HOSTS ?= 10000
SEEDS ?= 10
SOAK  ?= 1h
chaos: build ## scans of HOSTS (10000) simulated hosts with SEEDS (10) seeds of faults, killed enrolls, and a soak for SOAK (1h)
	cd test && export FLEETCTL=$(CURDIR)/bin/fleetctl && \
	  CHAOS_HOSTS=$(HOSTS) CHAOS_FORKS=500 CHAOS_TIMEOUT=120s CHAOS_SEEDS=$(SEEDS) go test ./chaos -run AFleet -v -count=1 -timeout 0 && \
	  CHAOS_KILLS=15 CHAOS_ENROLL_HOSTS=20 CHAOS_SEEDS=$(SEEDS) go test ./chaos -run 'Goes|Gone|Full|Enroll' -v -count=1 -timeout 0 && \
	  SOAK=$(SOAK) SOAK_HOSTS=2000 go test ./chaos -run Soak -v -count=1 -timeout 0
	EVERY_FAULT=1 go test ./enroll -run EveryFault -v -count=1 -timeout 0

# The tools of a release, pinned in a module of their own: goreleaser brings many modules, and lint doesn't need them.
RELEASE_TOOLS := bin/tools/goreleaser bin/tools/cyclonedx-gomod
RELEASER      := COMMIT=$$(git rev-parse --short=12 HEAD) COMMIT_TIME=$$(git log -1 --format=%ct) \
                 COMMIT_DATE=$$(date -u -d @$$(git log -1 --format=%ct) +%Y-%m-%dT%H:%M:%SZ) \
                 PATH="$(CURDIR)/bin/tools:$$PATH" goreleaser release --clean
$(RELEASE_TOOLS) &: test/release/go.mod test/release/go.sum
	go build -C test/release -buildvcs=false -o $(CURDIR)/bin/tools/ tool

# What packages have beside the program, as the program itself says it: completions and man pages.
share: build
	rm -rf bin/share && mkdir -p bin/share
	for shell in bash zsh fish; do bin/fleetctl completion $$shell >bin/share/fleetctl.$$shell; done
	bin/fleetctl man bin/share/man
	gzip -9n bin/share/man/*.1

snapshot: share $(RELEASE_TOOLS) ## release-snapshot for linux-amd64 alone
	ONE_PLATFORM=yes $(RELEASER) --snapshot

release-snapshot: share $(RELEASE_TOOLS) ## what a release of this commit would be, in bin/dist: archives, packages, SBOMs, checksums
	$(RELEASER) --snapshot

reproducible: $(RELEASE_TOOLS) ## snapshot twice, in clones in two directories, and compares
	.ci/reproducible

release: share $(RELEASE_TOOLS) # a draft of a release on GitHub, of a tag that is checked out; the workflow does it
	$(RELEASER)

rename: ## MODULE=example.com/x/fleetctl gives the modules another path
	cd test && go run ./rename -root .. $(MODULE)

deps: # the Debian packages of the tests: installed as root, else asked for
	@.ci/need $(TEST_APT)

clean: ## removes what was built
	rm -rf bin $(HELPERS)
