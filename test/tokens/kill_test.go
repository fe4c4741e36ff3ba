package tokens

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"

	"fleetctl/enroll/config"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
)

// The process that the kill test kills: it records hosts, makes tokens, writes and applies them, over and over, and
// says which host is recorded once that is durable.
func init() {
	dir := os.Getenv("FLEETCTL_TEST_KILL")
	if dir == "" {
		return
	}
	_ = os.Unsetenv("FLEETCTL_TEST_KILL") // its tctl runs this binary, too
	if err := victim(context.Background(), dir, os.Getenv("FLEETCTL_TEST_RUN")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func victimConfig() config.Config {
	cfg := config.Default()
	cfg.Bot = config.Bot{Name: "fleet", Roles: []string{"r"}}
	cfg.Token.MaxRules = 40
	return cfg
}

func victim(ctx context.Context, dir, name string) error {
	st, err := store.Open(ctx, filepath.Join(dir, "fleet.db"))
	if err != nil {
		return err
	}
	run, err := st.BeginRun(ctx, "scan", 0)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for n := 0; ; n++ {
		if err := recordSome(ctx, st, run, name, n); err != nil {
			return err
		}
		set, err := token.Make(ctx, st, victimConfig(), token.Options{Persist: true})
		if err != nil {
			return err
		}
		if _, err := set.Write(filepath.Join(dir, "out")); err != nil {
			return err
		}
		fmt.Println("written")
		if n%4 == 3 {
			if _, err := set.Apply(ctx, tctl.Tctl{Path: filepath.Join(dir, "tctl")}, token.ApplyOptions{Store: st}); err != nil {
				return err
			}
		}
	}
}

// recordSome records four hosts at once.
func recordSome(ctx context.Context, st store.Store, run int64, name string, n int) error {
	var wg sync.WaitGroup
	var failed error
	var mu sync.Mutex
	for i := range 4 {
		wg.Go(func() {
			host := fmt.Sprintf("host-%s-%d-%d", name, n, i)
			id := &store.Identity{EKHash: fmt.Sprintf("%064x", hashOf(host)), Proven: true, Via: "helper"}
			_, err := st.Put(ctx, store.Observation{Host: host, Run: run, At: time.Now(), Outcome: "ok", Identity: id})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			fmt.Println("host", host)
		})
	}
	wg.Wait()
	return failed
}

func hashOf(s string) (h uint64) {
	h = 14695981039346656037 // FNV-1a
	for _, c := range []byte(s) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// TestKilledAtAnyMoment kills a process that records hosts and writes and applies tokens, 200 times. No host that was
// said to be recorded may be lost, no file be half-written, and the next run has to go on from there.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	kills := 50
	if testing.Short() {
		kills = 5
	}
	for fleet := range 4 {
		t.Run(fmt.Sprint("fleet ", fleet), func(t *testing.T) {
			t.Parallel()
			killOften(t, kills)
		})
	}
}

func killOften(t *testing.T, kills int) {
	t.Helper()
	cluster, dir := fakeTctlIn(t, memoryDisk(t))
	mustApply(t, plan(t, token.Input{Bot: victimConfig().Bot, Policy: victimConfig().Token}), cluster, token.ApplyOptions{}) // the bot
	promised := map[string]bool{}
	for n := range kills {
		killOne(t, dir, fmt.Sprint(n), promised)
		checkAfterKill(t, dir, promised)
	}
	if len(promised) < kills/2 {
		t.Errorf("only %d hosts were recorded in %d runs: the test tests little", len(promised), kills)
	}
	st, err := store.Open(t.Context(), filepath.Join(dir, "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	set, err := token.Make(t.Context(), st, victimConfig(), token.Options{Persist: true})
	if err != nil {
		t.Fatal(err)
	}
	for host := range promised {
		if set.TokenOf(host) == "" {
			t.Errorf("%s has no token", host)
		}
	}
	if _, err := set.Write(filepath.Join(dir, "out")); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "out", ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	awaitOrphans(t, dir)
	mustApply(t, set, cluster, token.ApplyOptions{Store: st})
	t.Logf("%d kills, %d hosts, %d tokens", kills, len(promised), len(set.Tokens))
}

// memoryDisk is a directory whose syncs take no time, where the test may mount. What a killed process wrote is kept by
// the system on either.
func memoryDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128m"); err != nil {
		t.Logf("on the disk, since a file system in memory cannot be mounted: %v", err)
		return dir
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// awaitOrphans waits for tctls that outlived the process that started them.
func awaitOrphans(t *testing.T, dir string) {
	t.Helper()
	for {
		log, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(log), "begin ") == strings.Count(string(log), "end\n") {
			return
		}
		time.Sleep(10 * time.Millisecond) // they are nobody's children
	}
}

// killOne starts the process, lets it work for a random while, and kills it.
func killOne(t *testing.T, dir, name string, promised map[string]bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "FLEETCTL_TEST_KILL="+dir, "FLEETCTL_TEST_RUN="+name, "TMPDIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
		if host, ok := strings.CutPrefix(lines.Text(), "host "); ok {
			promised[host] = true
		}
	}
	_ = cmd.Wait() // it was killed
	if complaints.Len() > 0 {
		t.Fatalf("run %s: %s", name, complaints.String())
	}
}

func checkAfterKill(t *testing.T, dir string, promised map[string]bool) {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(dir, "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	found := 0
	for r, err := range st.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if promised[r.Host] {
			found++
		}
	}
	if found != len(promised) {
		t.Fatalf("%d of %d recorded hosts are there", found, len(promised))
	}
	files, err := filepath.Glob(filepath.Join(dir, "out", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		checkWhole(t, file)
	}
}

// checkWhole holds that a file is a bot with roles, or a token whose last rule is whole.
func checkWhole(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Kind string
		Spec struct {
			Roles []string
			TPM   struct {
				Allow []struct {
					Hash string `yaml:"ek_public_hash"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Spec.Roles) == 0 {
		t.Fatalf("%s is half-written: %v\n%s", file, err, data)
	}
	rules := doc.Spec.TPM.Allow
	if doc.Kind == "token" && (len(rules) == 0 || !store.ValidEKHash(rules[len(rules)-1].Hash)) {
		t.Fatalf("%s is half-written:\n%s", file, data)
	}
}
