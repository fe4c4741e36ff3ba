package scale

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/enrolltest/program"
)

// kills is how often fleetctl is killed: few times by default, KILLS=200 for the real thing.
func kills(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(orElse(os.Getenv("KILLS"), "24"))
	if err != nil || n < 3 {
		t.Fatalf("KILLS=%s: must be a number from 3 on", os.Getenv("KILLS"))
	}
	return n
}

// unstamped is a token's file without its epoch: how often its content changed before depends on the kills.
func unstamped(content []byte) []byte {
	return regexp.MustCompile(`(?m)^\s*fleetctl\.dev/epoch:.*\n`).ReplaceAll(content, nil)
}

// fleetctl is killed with SIGKILL at random moments of a scan, of making tokens and of applying them. Whatever it had
// recorded stays; files are whole; rules only grow; and in the end the tokens are those of a run that nobody disturbed.
func TestKilledAtRandomMomentsNothingIsLost(t *testing.T) {
	t.Parallel()
	f := start(t, 30, "no-ekcert=6")
	want := f.undisturbed(t)
	stages := []struct {
		args []string
		took time.Duration // undisturbed
	}{
		{[]string{"scan", "--forks", "4"}, want.scan},
		{[]string{"tokens"}, want.tokens},
		{[]string{"tokens", "--apply"}, 12 * want.tokens},
	}
	known, rules := 0, 0
	for i := range kills(t) {
		args, took := stages[i%len(stages)].args, stages[i%len(stages)].took
		f.kill(t, took*5/4, args...)
		identities := f.identities(t)
		for host, hash := range identities {
			if want.hashes[host] != hash {
				t.Fatalf("kill %d (%v): %s has the EK %q, which is not its own", i, args, host, hash)
			}
		}
		if len(identities) < known {
			t.Fatalf("kill %d (%v): %d hosts were known, now %d are", i, args, known, len(identities))
		}
		known = len(identities)
		f.wholeFiles(t, "out")
		if got := f.clusterRules(t); len(got) < rules {
			t.Fatalf("kill %d (%v): the cluster had %d rules, now %d", i, args, rules, len(got))
		} else {
			rules = len(got)
		}
	}
	if known == 0 || rules == 0 {
		t.Errorf("%d hosts were known and %d rules were there: the kills came too early to show anything", known, rules)
	}
	t.Logf("after %d kills %d hosts are known and the cluster has %d rules", kills(t), known, rules)
	f.run(t, "scan")
	f.run(t, "tokens", "--apply")
	for name, content := range want.files {
		if got := f.read(t, "out", name); !bytes.Equal(unstamped(got), unstamped(content)) {
			t.Errorf("out/%s differs from that of a run without kills:\n%s", name, got)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(f.dir, "out")); err != nil || len(entries) != len(want.files) {
		t.Errorf("out/ has %v, %v; want %d files", entries, err, len(want.files))
	}
	if got := f.clusterRules(t); len(got) != 30 {
		t.Errorf("the cluster has %d rules in the end, want 30", len(got))
	}
}

// undisturbedRun is what scan and tokens make of the fleet when nobody kills them.
type undisturbedRun struct {
	hashes       map[string]string // by host
	files        map[string][]byte // of out
	scan, tokens time.Duration
}

func (f *fleet) undisturbed(t *testing.T) undisturbedRun {
	t.Helper()
	u := undisturbedRun{files: map[string][]byte{}}
	u.scan = f.run(t, "scan", "--forks", "4", "--db", "calm.db")
	u.tokens = f.run(t, "tokens", "--db", "calm.db", "--out", "calm")
	u.hashes = f.hashes(t, "calm.db")
	if len(u.hashes) != 30 {
		t.Fatalf("an undisturbed scan knows %d hosts, want 30", len(u.hashes))
	}
	entries, err := os.ReadDir(filepath.Join(f.dir, "calm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		u.files[e.Name()] = f.read(t, "calm", e.Name())
	}
	return u
}

func (f *fleet) command(args ...string) *exec.Cmd {
	cmd := exec.Command(f.program, args...)
	cmd.Dir, cmd.Env = f.dir, f.environment()
	return cmd
}

// run runs a command that has to succeed, and says how long it took.
func (f *fleet) run(t *testing.T, args ...string) time.Duration {
	t.Helper()
	began := time.Now()
	if out, err := f.command(args...).CombinedOutput(); err != nil {
		t.Fatalf("fleetctl %v: %v\n%s", args, err, tail(string(out)))
	}
	return time.Since(began)
}

// kill starts a command and kills it at a random moment; it may have ended before.
func (f *fleet) kill(t *testing.T, within time.Duration, args ...string) {
	t.Helper()
	cmd := f.command(args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(rand.N(within), func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // killed, or done, or without records yet
}

// identities are the accepted EKs of the disturbed records, by host.
func (f *fleet) identities(t *testing.T) map[string]string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(f.dir, "fleet.db")); err != nil {
		return nil // killed before there was anything
	}
	return f.hashes(t, "fleet.db")
}

func (f *fleet) hashes(t *testing.T, db string) map[string]string {
	t.Helper()
	cmd := f.command("records", "export", "--db", db, "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("records export: %v\n%s", err, &stderr)
	}
	return program.Identities(t, out)
}

// wholeFiles checks that every YAML file of a directory is complete: it parses and ends with a line's end.
func (f *fleet) wholeFiles(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(f.dir, dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Kind string }
		if err := yaml.Unmarshal(content, &doc); err != nil || doc.Kind == "" || !bytes.HasSuffix(content, []byte("\n")) {
			t.Fatalf("%s is not whole: %v\n%s", name, err, content)
		}
	}
}

func (f *fleet) read(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(f.dir, dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// clusterRules are the cluster's rules; before the first token there are none.
func (f *fleet) clusterRules(t *testing.T) map[string]bool {
	t.Helper()
	cmd := exec.Command(filepath.Join(f.bin, "tctl"), "get", "tokens", "--format", "json")
	cmd.Dir, cmd.Env = f.dir, f.environment()
	if out, err := cmd.Output(); err != nil || len(bytes.TrimSpace(out)) <= len("[]") {
		return nil
	}
	return f.rules(t)
}
