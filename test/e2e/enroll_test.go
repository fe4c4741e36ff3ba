package e2e

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-attestation/attest"

	"fleetctl/test/cluster"
	"fleetctl/test/lab"
)

// healthy are the hosts that must join, each with its token.
var healthy = map[string]string{
	"web-01":        "fleet",
	"web-02":        "fleet",
	"sudo-01":       "fleet",
	"tss-01":        "fleet",
	"nocert-01":     "fleet-hash-only", // no certificate to check
	"foreign-ca-01": "fleet-hash-only", // its certificate does not verify
}

// unhealthy are the hosts that must not, each with the status that says why.
var unhealthy = map[string]string{
	"notpm-01":       "no-tpm",
	"clone-01":       "duplicate-ek",
	"clone-02":       "duplicate-ek",
	"foreign-key-01": "unproven",
	"changed-01":     "host-key-changed",
	"down-01":        "connect-failed",
}

// limit is the pattern of the healthy hosts.
func limit() string { return strings.Join(slices.Sorted(maps.Keys(healthy)), ",") }

// TestFleet takes the fleet of docs/lab.md the whole way. Its parts build on each other.
func TestFleet(t *testing.T) {
	f := newFleet(t, lab.Up(t, lab.Mix()...))
	for _, part := range []struct {
		name string
		run  func(fleet)
	}{
		{"scan identifies every TPM as go-attestation does", fleet.scans},
		{"enroll --check changes nothing", fleet.checks},
		{"enroll joins every healthy host and names the others", fleet.enrolls},
		{"a second enroll changes nothing", fleet.enrollsAgain},
		{"a host that is down keeps its rule", fleet.keepsRules},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(f.on(t)) }) {
			t.FailNow()
		}
	}
}

func (f fleet) scans() {
	before := f.disks()
	r := f.fleetctl(exitFailed, "scan")
	if len(r.Hosts) != len(f.Hosts) {
		f.t.Errorf("%d hosts in the report, want %d", len(r.Hosts), len(f.Hosts))
	}
	for name := range healthy {
		if h := r.host(f.t, name); h.Outcome != "ok" || !h.Proven {
			f.t.Errorf("%+v", h)
		}
	}
	f.named(r)
	for _, h := range f.Hosts {
		if h.TPM == nil || h.Spec.WrongHostKey {
			continue
		}
		hash, serial, err := identity(h)
		if err != nil {
			f.t.Fatalf("%s: %v", h.Name, err)
		}
		if got := r.host(f.t, h.Name); got.Hash != hash || got.Serial != serial {
			f.t.Errorf("%s: %s %s, go-attestation says %s %s", h.Name, got.Hash, got.Serial, hash, serial)
		}
	}
	f.sameDisks(before)
	f.noTraces()
}

// named checks that every unhealthy host is named with its reason.
func (f fleet) named(r report) {
	f.t.Helper()
	for name, status := range unhealthy {
		if h := r.host(f.t, name); h.Status != status || h.Message == "" || h.Outcome == "ok" || h.Outcome == "changed" {
			f.t.Errorf("want %s, got %+v", status, h)
		}
	}
}

// socket gives go-attestation a TPM's socket.
type socket struct{ net.Conn }

func (socket) MeasurementLog() ([]byte, error) { return nil, errors.New("no measurement log") }

var _ io.ReadWriteCloser = socket{}

// identity returns hash and serial as go-attestation reads them.
func identity(h *lab.Host) (hash, serial string, err error) {
	conn, err := net.Dial("unix", h.TPM.Socket)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	tpm, err := attest.OpenTPM(&attest.OpenConfig{CommandChannel: socket{conn}})
	if err != nil {
		return "", "", err
	}
	eks, err := tpm.EKs()
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKIXPublicKey(eks[0].Public)
	if err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(der)
	if cert := eks[0].Certificate; cert != nil {
		serial = cluster.Serial(cert.SerialNumber)
	}
	return hex.EncodeToString(sum[:]), serial, nil
}

func (f fleet) checks() {
	before := f.disks()
	r := f.fleetctl(exitChanges, "enroll", "--check", "--limit", limit())
	for name := range healthy {
		h := r.host(f.t, name)
		if h.Outcome != "changed" || !slices.ContainsFunc(h.Steps, func(s step) bool { return s.Changed }) {
			f.t.Errorf("no changes are planned: %+v", h)
		}
	}
	f.sameDisks(before)
	if got := f.cluster(); got != "" {
		f.t.Errorf("the cluster has now:\n%s", got)
	}
}

func (f fleet) enrolls() {
	before := f.disks()
	r := f.fleetctl(exitFailed, "enroll")
	for name := range healthy {
		if h := r.host(f.t, name); h.Outcome != "changed" {
			f.t.Errorf("%+v", h)
		}
	}
	for _, h := range r.Hosts {
		f.t.Logf("%-15s %-12s %-17s %s", h.Host, h.Outcome, h.Status, h.Message)
	}
	f.named(r)
	f.joined()
	f.oldUnit()
	after := f.disks()
	for name, snap := range after {
		diff := before[name].Diff(snap)
		if _, ok := healthy[name]; !ok {
			if len(diff) > 0 {
				f.t.Errorf("%s was changed:\n%s", name, strings.Join(diff, "\n"))
			}
			continue
		}
		f.onlyAskedFor(name, diff)
	}
	f.noTraces()
}

// newerThan219 are directives of the sandbox that systemd 219 does not know: it would warn of each at every start.
var newerThan219 = []string{
	"ProtectSystem=strict", "ReadWritePaths=", "ProtectKernelTunables=", "RestrictNamespaces=", "LockPersonality=",
	"RestrictSUIDSGID=", "ProtectHostname=", "ProtectKernelLogs=", "ProtectClock=",
}

// oldUnit checks that the host with an old systemd got only what that knows, and the others all.
func (f fleet) oldUnit() {
	f.t.Helper()
	for name, old := range map[string]bool{"web-01": false, "web-02": true} {
		unit, err := f.Host(name).Exec(f.t.Context(), "sh", "-c",
			"cat /etc/systemd/system/tbot.service /etc/systemd/system/tbot.service.d/*.conf")
		if err != nil {
			f.t.Fatal(err)
		}
		for _, directive := range newerThan219 {
			if has := strings.Contains(unit, directive); has == old {
				f.t.Errorf("%s: %s there: %v, and its systemd is old: %v", name, directive, has, old)
			}
		}
	}
}

// joined checks with the cluster that exactly the healthy hosts have joined, each with its token.
func (f fleet) joined() {
	f.t.Helper()
	joined := f.instances()
	for name, token := range healthy {
		hash, _, err := identity(f.Host(name))
		if err != nil {
			f.t.Fatal(err)
		}
		if joined[hash] != token {
			f.t.Errorf("%s joined with %q, want %q", name, joined[hash], token)
		}
		delete(joined, hash)
	}
	if len(joined) > 0 {
		f.t.Errorf("others have joined: %v", joined)
	}
}

// asked are the paths that enrolling may change on a host. What ends in "/" is a directory with all below it.
var asked = []string{
	"/etc/tbot.yaml", "/etc/systemd/system/tbot.service", "/etc/systemd/system/tbot.service.d/",
	"/etc/systemd/system/multi-user.target.wants/tbot.service", "/etc/udev/rules.d/", "/var/lib/teleport/",
	// The user and its groups.
	"/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/shadow-", "/etc/group", "/etc/group-", "/etc/gshadow", "/etc/gshadow-",
	"/etc/subuid", "/etc/subuid-", "/etc/subgid", "/etc/subgid-",
}

// parents are directories that appear in a disk's snapshot as soon as something below them changes.
var parents = []string{
	"/etc", "/etc/systemd", "/etc/systemd/system", "/etc/systemd/system/multi-user.target.wants", "/etc/udev",
	"/etc/udev/rules.d", "/var", "/var/lib", "/var/lib/teleport", "/etc/systemd/system/tbot.service.d",
}

// onlyAskedFor reports changes of a host's disk that nobody asked for, and those that are missing.
func (f fleet) onlyAskedFor(name string, diff []string) {
	f.t.Helper()
	seen := map[string]string{}
	for _, line := range diff {
		path := strings.Fields(line)[1]
		seen[path] = line
		under := func(dir string) bool {
			return path == dir || strings.HasSuffix(dir, "/") && strings.HasPrefix(path, dir)
		}
		if !slices.ContainsFunc(asked, under) && !slices.Contains(parents, path) {
			f.t.Errorf("%s: nobody asked for: %s", name, line)
		}
	}
	for path, want := range map[string]string{
		"/etc/tbot.yaml":                   "+ /etc/tbot.yaml -rw-r----- 0:",
		"/etc/systemd/system/tbot.service": "+ /etc/systemd/system/tbot.service -rw-r--r-- 0:0 ",
		"/var/lib/teleport/bot":            "+ /var/lib/teleport/bot drwx------ ",
	} {
		if !strings.HasPrefix(seen[path], want) {
			f.t.Errorf("%s: %s: %q, want %q", name, path, seen[path], want)
		}
	}
}

// services returns the PID of tbot on every healthy host.
func (f fleet) services() map[string]string {
	f.t.Helper()
	pids := map[string]string{}
	for name := range healthy {
		pid, err := f.Host(name).Exec(within(f.t), "systemctl", "show", "--property=MainPID,ActiveState,NRestarts", "tbot")
		if err != nil {
			f.t.Fatal(err)
		}
		pids[name] = pid
	}
	return pids
}

func (f fleet) enrollsAgain() {
	disks, cluster, pids := f.disks(), f.cluster(), f.services()
	r := f.fleetctl(exitFailed, "enroll")
	for name := range healthy {
		if h := r.host(f.t, name); h.Outcome != "ok" {
			f.t.Errorf("%+v", h)
		}
	}
	f.named(r)
	f.fleetctl(exitOK, "enroll", "--check", "--limit", limit())
	f.sameDisks(disks)
	if got := f.cluster(); got != cluster {
		f.t.Errorf("the cluster had:\n%s\nand has:\n%s", cluster, got)
	}
	if got := f.services(); !maps.Equal(got, pids) {
		f.t.Errorf("services were %v, are %v", pids, got)
	}
	f.noTraces()
}

// keepsRules turns a host off that has joined: neither a scan nor an enroll may revoke it.
func (f fleet) keepsRules() {
	cluster, h := f.cluster(), f.Host("web-02")
	h.Kill()
	r := f.fleetctl(exitFailed, "enroll")
	if got := r.host(f.t, "web-02"); got.Outcome != "unreachable" {
		f.t.Errorf("%+v", got)
	}
	if got := f.cluster(); got != cluster {
		f.t.Errorf("the cluster had:\n%s\nand has:\n%s", cluster, got)
	}
	f.start(h)
	f.waitJoined(h)
}
