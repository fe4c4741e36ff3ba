package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/test/lab"
)

// stages are paths that an enroll makes one after the other.
var stages = []string{"/var/lib/teleport/bot", "/etc/tbot.yaml", "/etc/systemd/system/tbot.service"}

// TestRollout runs several small fleets at once in one lab, each with records, bot and token of its own.
func TestRollout(t *testing.T) {
	asRoot := map[string]any{"tbot": map[string]any{"user": "root"}}
	specs := []lab.Spec{
		{Name: "node-01", Tbot: installed},               // udev runs, and there is no group tss
		{Name: "node-02", Tbot: installed, NoUdev: true}, // neither
		{Name: "rules-01", Tbot: installed, TSS: true},   // both
		{Name: "root-01", Tbot: installed, Vars: asRoot},
		{Name: "canary-0"}, {Name: "canary-1"},
		{Name: "cut-0"}, {Name: "full-0"},
	}
	for i := range stages {
		specs = append(specs, lab.Spec{Name: fmt.Sprintf("killed-%d", i)}, lab.Spec{Name: fmt.Sprintf("dark-%d", i)})
	}
	f := newFleet(t, lab.Up(t, specs...))
	part := func(title, name string, run func(fleet), hosts ...string) {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			run(f.apart(t, name, hosts...))
		})
	}
	part("life of a fleet", "life", fleet.life, "node-01", "node-02", "rules-01", "root-01")
	part("a canary that fails keeps the others from being touched", "canary", fleet.canary, "canary-0", "canary-1")
	for i, path := range stages {
		killed, dark := fmt.Sprintf("killed-%d", i), fmt.Sprintf("dark-%d", i)
		part("fleetctl is killed once "+path+" is there", killed, func(f fleet) { f.killedAt(killed, path) }, killed)
		part("the host loses its power once "+path+" is there", dark, func(f fleet) { f.darkAt(dark, path) }, dark)
	}
	part("the connection is cut once /etc/tbot.yaml is there", "cut", func(f fleet) { f.cutAt("cut-0", stages[1]) }, "cut-0")
	part("the disk is full", "full", func(f fleet) { f.full("full-0") }, "full-0")
}

// edit changes a file in the lab's directory; what it looks for must be there.
func (f fleet) edit(name, old, replacement string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		f.t.Fatalf("%s has no %q:\n%s", name, old, data)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), old, replacement, 1)), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// tctl runs the lab's tctl.
func (f fleet) tctl(args ...string) string {
	f.t.Helper()
	out, err := f.Command(within(f.t), "tctl", args...).Output()
	if err != nil {
		f.t.Fatalf("tctl %v: %v", args, err)
	}
	return string(out)
}

func (f fleet) canary() {
	f.edit("fleet.yaml", "max_failures: 100%", "max_failures: 0\n    hooks: {before_host: exit 1}") // of a host that is to be changed
	disks := f.disks()
	r := f.fleetctl(exitFailed, "enroll")
	if got := r.host(f.t, "canary-0"); got.Outcome != "failed" || got.Status != "hook" {
		f.t.Errorf("%+v", got)
	}
	if got := r.host(f.t, "canary-1"); got.Outcome != "skipped" {
		f.t.Errorf("%+v", got)
	}
	f.sameDisks(disks)
}

// until starts an enroll of the hosts and waits until a path is there on one of them. Where the machine is so busy that the time
// of a host is over before, it begins anew with more of it.
func (f fleet) until(host, path string, limits ...string) (wait func() error, kill func()) {
	f.t.Helper()
	for _, limit := range limits {
		ctx, cancel := context.WithCancel(within(f.t))
		cmd := f.Command(within(f.t), "fleetctl", "enroll", "--timeout", limit)
		cmd.Dir = f.dir
		if err := cmd.Start(); err != nil {
			f.t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			defer cancel()
			done <- cmd.Wait()
		}()
		if err := f.Host(host).WaitPath(ctx, path); err == nil {
			return func() error { return <-done }, func() { _ = cmd.Process.Kill() }
		}
		f.t.Logf("with %s for each host: %v", limit, <-done)
	}
	f.t.Fatalf("%s never had %s", host, path)
	return nil, nil
}

// completes checks that one more enroll is enough, and that there is nothing left to do then.
func (f fleet) completes(host string) {
	f.t.Helper()
	if got := f.fleetctl(exitOK, "enroll").host(f.t, host); got.Outcome != "changed" && got.Outcome != "ok" {
		f.t.Errorf("%+v", got)
	}
	f.waitJoined(f.Host(host))
	f.fleetctl(exitOK, "enroll", "--check")
	files, err := f.Host(host).Exec(within(f.t), "find", "/etc", "/var/lib/teleport", "-name", "*.fleetctl*", "-o", "-name", ".tbot*")
	if err != nil || files != "" {
		f.t.Errorf("half-written files: %v\n%s", err, files)
	}
	f.noTraces()
}

func (f fleet) killedAt(host, path string) {
	wait, kill := f.until(host, path, "5m")
	kill()
	_ = wait()
	f.completes(host)
}

func (f fleet) darkAt(host, path string) {
	h := f.Host(host)
	wait, _ := f.until(host, path, "20s", "1m", "3m")
	h.Kill()
	if err := wait(); err == nil {
		f.t.Error("fleetctl did not notice")
	}
	f.start(h)
	f.completes(host)
}

func (f fleet) cutAt(host, path string) {
	h := f.Host(host)
	wait, _ := f.until(host, path, "20s", "1m", "3m")
	if err := h.Cable(false); err != nil {
		f.t.Fatal(err)
	}
	if err := wait(); err == nil {
		f.t.Error("fleetctl did not notice")
	}
	if err := h.Cable(true); err != nil {
		f.t.Fatal(err)
	}
	f.completes(host)
}

func (f fleet) full(host string) {
	h := f.Host(host)
	// dd fills what there is and fails, as it shall.
	if _, err := h.Exec(within(f.t), "sh", "-c", "dd if=/dev/zero of=/var/full bs=64k 2>/dev/null || :"); err != nil {
		f.t.Fatal(err)
	}
	disks := f.disks()
	if got := f.fleetctl(exitFailed, "enroll").host(f.t, host); got.Status != "no-space" || !strings.Contains(got.Message, "/etc is full") {
		f.t.Errorf("%+v", got)
	}
	f.sameDisks(disks)
	if _, err := h.Exec(within(f.t), "rm", "/var/full"); err != nil {
		f.t.Fatal(err)
	}
	f.completes(host)
}
