package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
)

func TestHostsAreHeldToTheDescriptors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, files, each, want int }{
		{500, 256, filesPerHost, 48}, {500, 256, filesPerCommand, 19}, {50, 256, filesPerHost, 48}, {20, 256, filesPerHost, 20},
		{500, 20000, filesPerHost, 500}, {500, 10, filesPerHost, 1}, {500, 0, filesPerHost, 500},
	} {
		if got := hostsFor(c.n, c.files, c.each); got != c.want {
			t.Errorf("%d hosts, %d files, %d each: %d, want %d", c.n, c.files, c.each, got, c.want)
		}
	}
}

// A machine that allows few descriptors scans all hosts well, and says that it works on fewer at once.
func TestAMachineWithFewDescriptorsScansAllHosts(t *testing.T) {
	t.Parallel()
	const n = 300
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{fmt.Sprintf("web=%d", n)}})
	tight := exec.Command("sh", "-c", "ulimit -n 128 && exec fleetctl scan --forks 500 -o json")
	tight.Dir, tight.Env = w.dir, w.environment(t)
	var stderr strings.Builder
	tight.Stderr = &stderr
	out, err := tight.Output()
	var report struct {
		Recap struct{ Counts map[string]int }
	}
	if uerr := json.Unmarshal(out, &report); uerr != nil || err != nil || report.Recap.Counts["ok"] != n {
		t.Errorf("%v, %v: %v\n%s", err, uerr, report.Recap.Counts, stderr.String())
	}
	if want := "this machine allows 128 open files: 16 hosts at once instead of 500 (ulimit -n raises it)"; !strings.Contains(stderr.String(), want) {
		t.Errorf("it did not say %q:\n%s", want, stderr.String())
	}
}

// Descriptors that somebody else holds are waited for: no host is told to be dead because this machine has none left.
func TestAShortageOfDescriptorsIsNoHostsFault(t *testing.T) {
	t.Parallel()
	const n = 60
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{fmt.Sprintf("web=%d", n)}})
	for i := range n {
		w.hosts[fmt.Sprintf("web-%02d", i+1)].Before = func(enrolltest.Event) error {
			time.Sleep(20 * time.Millisecond) // so that they meet
			return nil
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd := exec.Command("sh", "-c", "ulimit -n 256 && exec fleetctl scan --forks 500 -o json")
	for range 215 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, null)
	}
	cmd.Dir, cmd.Env = w.dir, w.environment(t)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var report struct {
		Recap struct{ Counts map[string]int }
	}
	if uerr := json.Unmarshal(out, &report); uerr != nil || err != nil || report.Recap.Counts["ok"] != n {
		t.Errorf("%v, %v: %v\n%s", err, uerr, report.Recap.Counts, stderr.String())
	}
	if want := "hosts wait for it: raise its limits"; strings.Count(stderr.String(), want) != 1 {
		t.Errorf("it did not say once %q:\n%s", want, stderr.String())
	}
}
