package scale

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/program"
	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// hostileFleet is how many healthy hosts there are, and how many hostile ones: few by default, HOSTILE_HOSTS=1000 for a
// fleet of which a fifth is hostile.
func hostileFleet(t *testing.T) (healthy, hostile int) {
	t.Helper()
	kinds := len(remotetest.Behaviours())
	text := os.Getenv("HOSTILE_HOSTS")
	if text == "" {
		return 60, kinds
	}
	n, err := strconv.Atoi(text)
	if err != nil || n/5 < kinds {
		t.Fatalf("HOSTILE_HOSTS=%s: must be a number from %d on", text, 5*kinds)
	}
	return n - n/5, n / 5
}

// A fifth of a fleet does its worst. The others are scanned all the same, the run ends, the controller stays small, and
// nothing that a host says stands in another's row.
func TestAFleetWithHostileHosts(t *testing.T) {
	healthy, hostile := hostileFleet(t)
	f := startHostile(t, healthy, hostile)
	t.Run("50 forks", func(t *testing.T) { f.report(t, 50, 150) })
	t.Run("500 forks", func(t *testing.T) { f.report(t, 500, 250) })
	t.Run("for people", func(t *testing.T) { f.table(t) })
}

// hostileHosts is a running fleet, and a directory for fleetctl.
type hostileHosts struct {
	dir, program string
	odd          map[string]remotetest.Behaviour // by host
	hosts        int
}

func startHostile(t *testing.T, healthy, hostile int) *hostileHosts {
	t.Helper()
	f := &hostileHosts{dir: t.TempDir(), program: program.Fleetctl(t), odd: map[string]remotetest.Behaviour{}, hosts: healthy + hostile}
	fleet := remotetest.StartFleet(t)
	behaviours := remotetest.Behaviours()
	var targets []remote.Target
	for i := range f.hosts {
		odd := i*hostile/f.hosts != (i+1)*hostile/f.hosts // spread among the others
		name := fmt.Sprintf("host-%04d", i)
		h := enrolltest.NewHost(t, name, "18.4.0")
		chip, err := softtpm.NewTPM(i + 1)
		if err != nil {
			t.Fatal(err)
		}
		h.TPM = chip
		target := h.Attach(fleet)
		target.Password = "secret"
		if odd {
			b := behaviours[len(f.odd)%len(behaviours)]
			f.odd[name] = b
			fleet.Break(target, b)
		}
		targets = append(targets, target)
	}
	f.write(t, "inventory.yaml", inventory(targets))
	f.write(t, "fleet.yaml", "version: v1\ninventory: inventory.yaml\n"+
		"cluster: {proxy_server: \"teleport.example.com:443\"}\nbot: {name: fleet, roles: [access]}\n")
	return f
}

func (f *hostileHosts) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func inventory(targets []remote.Target) string {
	var b strings.Builder
	first := targets[0]
	fmt.Fprintf(&b, "all:\n  vars:\n    ansible_user: %s\n    ansible_password: %s\n    ansible_ssh_private_key_file: %s\n"+
		"    ansible_ssh_common_args: %s\n  hosts:\n", first.User, first.Password, first.PrivateKeyFile, strings.Join(first.SSHArgs, " "))
	for _, t := range targets {
		fmt.Fprintf(&b, "    %s: {ansible_host: %s, ansible_port: %d}\n", t.Name, t.Host, t.Port)
	}
	return b.String()
}

// forged is what the hosts say that would be a row or a line of another.
var forged = regexp.MustCompile(`(?m)^(ok|failed|other|EK|no|go away|title)\b|\x1b`)

// table scans the fleet for people, who read lines.
func (f *hostileHosts) table(t *testing.T) {
	stdout, stderr := f.run(t, 500, 250, "table")
	checkLines(t, "stdout", stdout)
	checkLines(t, "stderr", stderr)
}

func checkLines(t *testing.T, name, text string) {
	t.Helper()
	if m := forged.FindStringIndex(text); m != nil {
		t.Errorf("%s has a line of a host's own: %q", name, text[m[0]:min(len(text), m[0]+200)])
	}
}

// report scans the fleet for programs, at most peak MiB large.
func (f *hostileHosts) report(t *testing.T, forks int, peak int64) {
	stdout, stderr := f.run(t, forks, peak, "json")
	checkLines(t, "stderr", stderr)
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Hosts) != f.hosts {
		t.Errorf("%d hosts in the report, want %d", len(r.Hosts), f.hosts)
	}
	for _, h := range r.Hosts {
		b, odd := f.odd[h.Host]
		ok := h.Outcome == "ok" || h.Outcome == "changed"
		switch {
		case !odd && !ok:
			t.Errorf("%s is healthy: %s %s: %s", h.Host, h.Outcome, h.Status, h.Message)
		case odd && b.Fine && !ok, odd && !b.Fine && !b.Race && ok:
			t.Errorf("%s (%s): %s %s: %s", h.Host, b.Name, h.Outcome, h.Status, h.Message)
		case odd && len(h.Message) > 5000:
			t.Errorf("%s (%s): a message of %d bytes", h.Host, b.Name, len(h.Message))
		case !odd && strings.Contains(h.Message, "host=other"):
			t.Errorf("%s has another's words: %s", h.Host, h.Message)
		case odd && statusOf()[b.Name] != "" && statusOf()[b.Name] != h.Status:
			t.Errorf("%s (%s): %s: %s", h.Host, b.Name, h.Status, h.Message)
		case odd:
			t.Logf("%s: %s %s: %.150q", b.Name, h.Outcome, h.Status, h.Message)
		}
	}
}

// statusOf are the statuses of what hosts may do to a scan in the middle.
func statusOf() map[string]string {
	return map[string]string{
		"hangs up while the helper works": "disconnected", "half a frame, then gone": "disconnected",
		"killed by a signal": "disconnected", "silent after the command": "timeout", "stdout without end": "bad-output",
		"a version one byte at a time": "timeout", "refuses every key": "auth-failed",
	}
}

// hostileTimeout is what a host gets; no run takes longer than so many rounds of it as there are hosts that use it up.
// Many healthy hosts at once need time: each is sent a helper.
func (f *hostileHosts) hostileTimeout() time.Duration {
	if f.hosts > 500 {
		return time.Minute
	}
	return 8 * time.Second
}

func (f *hostileHosts) run(t *testing.T, forks int, peak int64, format string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(f.program, "scan", "-o", format, "--no-progress", "--forks", strconv.Itoa(forks),
		"--timeout", f.hostileTimeout().String(), "--db", fmt.Sprintf("%d-%s.db", forks, format))
	cmd.Dir = f.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	bytesHeld, err := program.Run(cmd)
	took := time.Since(began)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	used := bytesHeld >> 20
	t.Logf("scan of %d hosts, %d of them hostile, %d forks, %s: %.1f s, fleetctl's CPU %.1f s, peak %d MiB", f.hosts, len(f.odd), forks,
		format, took.Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), used)
	if used > peak {
		t.Errorf("fleetctl took %d MiB, more than %d", used, peak)
	}
	if bound := time.Duration(1+f.hosts/forks) * 2 * f.hostileTimeout(); took > bound {
		t.Errorf("the scan took %s, more than %s", took, bound)
	}
	return out.String(), errs.String()
}
