package scale

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest/program"
)

// hosts is the size of the fleet: small by default, FLEET_HOSTS=1000 for the real thing.
func hosts(t *testing.T) int {
	t.Helper()
	text := os.Getenv("FLEET_HOSTS")
	if text == "" {
		return 30
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 30 {
		t.Fatalf("FLEET_HOSTS=%s: must be a number from 30 on", text)
	}
	return n
}

// report is what "fleetctl enroll -o json" prints.
type report struct {
	Recap struct {
		Hosts  int            `json:"hosts"`
		Counts map[string]int `json:"counts"`
	} `json:"recap"`
	Hosts []struct {
		Host    string `json:"host"`
		Outcome string `json:"outcome"`
		Status  string `json:"status"`
		EKHash  string `json:"ek_public_hash"`
		Message string `json:"message"`
	} `json:"hosts"`
}

// A whole fleet is enrolled in one run, with a failure budget that its sick hosts stay within; then once more.
func TestAWholeFleet(t *testing.T) {
	t.Parallel()
	n := hosts(t)
	f := start(t, n, "down=2,changed-key=1,no-tpm=2,cloned=1,no-tbot=1,no-ekcert="+strconv.Itoa(n/5))
	const bad = 2 + 1 + 2 + 1 + 1 + 1 // with the clone's original

	first := f.enroll(t, 3)
	f.check(t, first, n, map[string]int{
		"changed/": n - bad, "unreachable/connect-failed": 2, "unreachable/host-key-changed": 1, "failed/no-tpm": 2,
		"failed/duplicate-ek": 2, "failed/no-tbot": 1,
	})
	// One rule for every host with an identity that is its alone: also for the one that has no tbot yet.
	if rules := f.rules(t); len(rules) != n-bad+1 {
		t.Errorf("the cluster has rules for %d hashes, want %d", len(rules), n-bad+1)
	}
	second := f.enroll(t, 3)
	f.check(t, second, n, map[string]int{
		"ok/": n - bad, "unreachable/connect-failed": 2, "unreachable/host-key-changed": 1, "failed/no-tpm": 2,
		"failed/duplicate-ek": 2, "failed/no-tbot": 1,
	})
}

// Hosts that cannot be enrolled as they are fail, every one of them accounted for, and keep nobody from being enrolled.
func TestHostsThatAreRefusedDoNotStopTheRollout(t *testing.T) {
	t.Parallel()
	n := hosts(t)
	f := start(t, n, "no-tbot="+strconv.Itoa(n/2))
	r := f.enroll(t, 3)
	total := 0
	for _, k := range r.Recap.Counts {
		total += k
	}
	if total != n || r.Recap.Hosts != n || len(r.Hosts) != n {
		t.Errorf("%d hosts in the list, %d in the recap, whose counts add up to %d; want %d", len(r.Hosts), r.Recap.Hosts, total, n)
	}
	if failed, changed := r.Recap.Counts["failed"], r.Recap.Counts["changed"]; failed != n/2 || changed != n-n/2 {
		t.Errorf("%d hosts failed and %d changed, of %d", failed, changed, n)
	}
}

// check compares a report with what is wanted, by outcome and status.
func (f *fleet) check(t *testing.T, r report, n int, want map[string]int) {
	t.Helper()
	got, byOutcome, seen := map[string]int{}, map[string]int{}, map[string]bool{}
	for _, h := range r.Hosts {
		status := h.Status
		if h.Outcome == "ok" || h.Outcome == "changed" {
			status = ""
		}
		got[h.Outcome+"/"+status]++
		byOutcome[h.Outcome]++
		if seen[h.Host] {
			t.Errorf("%s is there twice", h.Host)
		}
		seen[h.Host] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
		for _, h := range r.Hosts {
			if want[h.Outcome+"/"+h.Status] == 0 && h.Message != "" {
				t.Logf("%s: %s %s: %s", h.Host, h.Outcome, h.Status, h.Message)
			}
		}
	}
	if !maps.Equal(byOutcome, r.Recap.Counts) || r.Recap.Hosts != n || len(seen) != n {
		t.Errorf("recap %v of %d hosts, counted %v of %d", r.Recap.Counts, r.Recap.Hosts, byOutcome, len(seen))
	}
}

// fleet is a running fleetsim, and a directory for the stand-in cluster.
type fleet struct {
	dir, program, bin string
}

func start(t *testing.T, n int, mix string) *fleet {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		program.Skip(t, "install swtpm: %v", err)
	}
	bin := t.TempDir()
	for _, p := range []struct{ module, command string }{{"../..", "./cmd/fleetsim"}, {"..", "./cluster/cmd/tctl"}} {
		build := exec.Command("go", "build", "-o", bin, p.command)
		build.Dir = p.module
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", p.command, err, out)
		}
	}
	f := &fleet{dir: t.TempDir(), program: program.Fleetctl(t), bin: bin}
	f.write(t, "teleport.yaml", "teleport: {data_dir: "+filepath.Join(f.dir, "cluster")+"}\n")
	program.Fleet(t, filepath.Join(bin, "fleetsim"), "-dir="+f.dir, "-n="+strconv.Itoa(n), "-mix="+mix, "-isolate=yes")
	return f
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (f *fleet) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// environment has the stand-in tctl in its PATH.
func (f *fleet) environment() []string {
	return append(os.Environ(), "PATH="+f.bin+":"+os.Getenv("PATH"),
		"TELEPORT_CONFIG_FILE="+filepath.Join(f.dir, "teleport.yaml"))
}

// enroll enrolls the fleet and checks the exit code.
func (f *fleet) enroll(t *testing.T, code int) (r report) {
	t.Helper()
	cmd := exec.Command(f.program, "enroll", "-o", "json", "--no-progress")
	cmd.Dir, cmd.Env = f.dir, f.environment()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	peak, err := program.Run(cmd)
	var exit *exec.ExitError
	if code != 0 && (!errors.As(err, &exit) || exit.ExitCode() != code) || code == 0 && err != nil {
		t.Fatalf("fleetctl enroll: %v, want exit code %d\n%s", err, code, tail(stderr.String()))
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("fleetctl enroll: %v\n%s", err, tail(stderr.String()))
	}
	t.Logf("enroll of %d hosts: %.1f s, fleetctl's CPU %.1f s, peak %d MiB: %v", len(r.Hosts), time.Since(began).Seconds(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), peak>>20, r.Recap.Counts)
	return r
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// rules are the hashes that the cluster's tokens allow.
func (f *fleet) rules(t *testing.T) map[string]bool {
	t.Helper()
	cmd := exec.Command(filepath.Join(f.bin, "tctl"), "get", "tokens", "--format", "json")
	cmd.Dir, cmd.Env = f.dir, f.environment()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var tokens []struct {
		Spec struct {
			TPM struct {
				Allow []struct {
					Hash string `json:"ek_public_hash"`
				} `json:"allow"`
			} `json:"tpm"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(out, &tokens); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, token := range tokens {
		for _, rule := range token.Spec.TPM.Allow {
			if all[rule.Hash] {
				t.Errorf("two rules for %s", rule.Hash)
			}
			all[rule.Hash] = true
		}
	}
	if len(all) == 0 {
		t.Error(fmt.Errorf("no rules in %s", out))
	}
	return all
}
