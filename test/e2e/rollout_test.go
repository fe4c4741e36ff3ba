package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"fleetctl/test/lab"
)

// life takes hosts, one for each way in which a tbot gets to its TPM, through the life of an enrolled host. Its parts
// build on each other.
func (f fleet) life() {
	r := &rollout{before: f.disks()}
	for _, part := range []struct {
		name string
		run  func(*rollout, fleet)
	}{
		{"enroll, and again", (*rollout).enrolls},
		{"a token that was changed by hand is shown as such, and repaired", (*rollout).repairsToken},
		{"a changed service changes the configuration and nothing else", (*rollout).changesService},
		{"another tbot is installed, and the old one kept", (*rollout).upgrades},
		{"what was changed by hand is named and repaired", (*rollout).repairs},
		{"a bad configuration is taken back, and stops the rollout at its canary", (*rollout).takesBack},
		{"after a reboot tbot joins by itself", (*rollout).reboots},
		{"a changed board is an alarm until it is accepted", (*rollout).acceptsBoard},
		{"removing leaves nothing", (*rollout).removes},
	} {
		if !f.t.Run(part.name, func(t *testing.T) { part.run(r, f.on(t)) }) {
			f.t.FailNow()
		}
	}
}

type rollout struct{ before map[string]lab.Snapshot }

// tbotConfig changes keys of "tbot:" in fleet.yaml; nil takes a key out.
func (f fleet) tbotConfig(keys map[string]any) {
	f.t.Helper()
	path := filepath.Join(f.dir, "fleet.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		f.t.Fatal(err)
	}
	tbot := doc["tbot"].(map[string]any)
	for k, v := range keys {
		if tbot[k] = v; v == nil {
			delete(tbot, k)
		}
	}
	if raw, err = yaml.Marshal(doc); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (h result) changed() []string {
	var names []string
	for _, s := range h.Steps {
		if s.Changed {
			names = append(names, s.Step)
		}
	}
	return names
}

// states runs status and returns the state of every host, and what drifted.
func (f fleet) states(want int) (states map[string]string, drift map[string][]string) {
	f.t.Helper()
	stdout, stderr := f.run(want, "status", "-o", "json")
	var r struct {
		Hosts []struct {
			Host, State string
			Drift       []string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		f.t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
	}
	states, drift = map[string]string{}, map[string][]string{}
	for _, h := range r.Hosts {
		states[h.Host], drift[h.Host] = h.State, h.Drift
	}
	return states, drift
}

func (f fleet) allHealthy() {
	f.t.Helper()
	states, drift := f.states(exitOK)
	for _, h := range f.Hosts {
		if states[h.Name] != "healthy" {
			f.t.Errorf("%s is %s: %v", h.Name, states[h.Name], drift[h.Name])
		}
	}
}

func (f fleet) exec(host string, args ...string) string {
	f.t.Helper()
	out, err := f.Host(host).Exec(within(f.t), args...)
	if err != nil {
		f.t.Fatalf("%s: %v: %v\n%s", host, args, err, out)
	}
	return strings.TrimSpace(out)
}

func (r *rollout) enrolls(f fleet) {
	if _, stderr := f.run(exitUsage, "status"); !strings.Contains(stderr, "there are no records") {
		f.t.Errorf("before: %s", stderr)
	}
	f.fleetctl(exitOK, "scan")
	if states, _ := f.states(exitFailed); states["node-01"] != "not-enrolled" {
		f.t.Errorf("before: %v", states)
	}
	for _, h := range f.fleetctl(exitOK, "enroll").Hosts {
		if h.Outcome != "changed" {
			f.t.Errorf("%+v", h)
		}
	}
	for _, h := range f.fleetctl(exitOK, "enroll").Hosts {
		if h.Outcome != "ok" || len(h.changed()) > 0 {
			f.t.Errorf("second run: %+v", h)
		}
	}
	f.allHealthy()
	for host, want := range map[string]string{"node-01": "teleport", "rules-01": "teleport", "root-01": "root"} {
		if got := f.exec(host, "ps", "-o", "user=", "-C", "tbot"); got != want {
			f.t.Errorf("%s: tbot runs as %q", host, got)
		}
	}
}

func (r *rollout) changesService(f fleet) {
	f.tbotConfig(map[string]any{"services": []any{map[string]any{
		"type": "identity", "destination": map[string]any{"type": "directory", "path": "/opt/machine-id"},
	}}})
	want := []string{"output directory /opt/machine-id", "/etc/tbot.yaml", "hardening drop-in", "daemon-reload", "restart"}
	for _, h := range f.fleetctl(exitOK, "enroll").Hosts {
		if !slices.Equal(h.changed(), want) {
			f.t.Errorf("%s: changed %q", h.Host, h.changed())
		}
	}
	if got := f.exec("node-01", "ls", "/opt/machine-id"); got == "" {
		f.t.Error("tbot wrote nothing into its output directory")
	}
	if got := f.exec("node-01", "ls", "/etc/tbot.yaml.previous"); got == "" {
		f.t.Error("the previous configuration is gone")
	}
	f.allHealthy()
}

// The versions of tbot that an upgrade is from and to.
const (
	installed = "18.7.7"
	upgraded  = "18.8.0"
)

func (r *rollout) upgrades(f fleet) {
	path := filepath.Join(f.dir, "tbot-"+upgraded)
	if err := lab.WriteTbot(path, upgraded); err != nil {
		f.t.Fatal(err)
	}
	arch := strings.TrimSpace(string(must(exec.Command("go", "env", "GOARCH").Output())))
	f.tbotConfig(map[string]any{"install": map[string]any{"from": "file", "version": upgraded, "files": map[string]any{arch: path}}})
	for _, h := range f.fleetctl(exitOK, "enroll").Hosts {
		if !slices.Equal(h.changed(), []string{"tbot", "daemon-reload", "restart"}) {
			f.t.Errorf("%s: changed %q", h.Host, h.changed())
		}
		if got := f.exec(h.Host, "sh", "-c", "tbot version; /usr/local/bin/tbot.previous version"); !strings.Contains(got, "v"+upgraded) ||
			!strings.Contains(got, "v"+installed) {
			f.t.Errorf("%s: %s", h.Host, got)
		}
	}
	for _, h := range f.fleetctl(exitOK, "enroll").Hosts {
		if h.Outcome != "ok" {
			f.t.Errorf("second run: %+v", h)
		}
	}
	f.allHealthy()
}

func must(out []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return out
}

func (r *rollout) repairs(f fleet) {
	f.exec("node-01", "sh", "-c", "echo 'debug: true' >>/etc/tbot.yaml; chmod 0755 /var/lib/teleport/bot")
	f.exec("node-02", "systemctl", "disable", "--now", "tbot")
	f.exec("rules-01", "rm", "/etc/systemd/system/tbot.service.d/10-fleetctl-hardening.conf")
	states, drift := f.states(exitFailed)
	if states["node-01"] != "drifted" || states["node-02"] != "unhealthy" || states["rules-01"] != "drifted" || states["root-01"] != "healthy" {
		f.t.Errorf("states %v", states)
	}
	if want := []string{"storage /var/lib/teleport/bot", "/etc/tbot.yaml", "restart"}; !slices.Equal(drift["node-01"], want) {
		f.t.Errorf("drift %q", drift["node-01"])
	}
	for _, h := range f.fleetctl(exitOK, "enroll").Hosts {
		if want := map[bool]string{true: "ok", false: "changed"}[h.Host == "root-01"]; h.Outcome != want {
			f.t.Errorf("%+v", h)
		}
	}
	f.allHealthy()
}

func (r *rollout) takesBack(f fleet) {
	before := f.exec("node-01", "sha256sum", "/etc/tbot.yaml")
	f.tbotConfig(map[string]any{"services": []any{map[string]any{"type": "no-such-service"}}})
	failed, skipped := 0, 0
	for _, h := range f.fleetctl(exitFailed, "enroll").Hosts {
		switch {
		case h.Outcome == "failed" && h.Status == "bad-config" && strings.Contains(h.Message, "previous files are back"):
			failed++
		case h.Outcome == "skipped" && h.Status == "not-started":
			skipped++
		default:
			f.t.Errorf("%+v", h)
		}
	}
	if failed != 1 || skipped != len(f.Hosts)-1 {
		f.t.Errorf("%d failed, %d were skipped", failed, skipped)
	}
	for _, h := range f.Hosts {
		if got := f.exec(h.Name, "systemctl", "is-active", "tbot"); got != "active" {
			f.t.Errorf("%s: tbot is %s", h.Name, got)
		}
		f.waitJoined(h)
	}
	if got := f.exec("node-01", "sha256sum", "/etc/tbot.yaml"); got != before {
		f.t.Errorf("the configuration was %s, is %s", before, got)
	}
	f.tbotConfig(map[string]any{"services": []any{map[string]any{
		"type": "identity", "destination": map[string]any{"type": "directory", "path": "/opt/machine-id"},
	}}})
	f.fleetctl(exitOK, "enroll")
	f.allHealthy()
}

func (r *rollout) reboots(f fleet) {
	for _, name := range []string{"node-01", "node-02", "rules-01"} {
		h := f.Host(name)
		if err := h.Reboot(within(f.t)); err != nil {
			f.t.Fatal(err)
		}
		f.waitJoined(h)
	}
	f.allHealthy()
}

func (r *rollout) repairsToken(f fleet) {
	good := f.tctl("get", "token/"+f.name)
	hash, _, err := identity(f.Host("node-01"))
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "by-hand.yaml"), []byte(good), 0o644); err != nil {
		f.t.Fatal(err)
	}
	f.edit("by-hand.yaml", hash, strings.Repeat("f", 64))
	f.tctl("create", "-f", filepath.Join(f.dir, "by-hand.yaml"))
	out, _ := f.run(exitChanges, "tokens", "--diff", "--check")
	if !strings.Contains(out, "node-01") || !strings.Contains(out, strings.Repeat("f", 64)) {
		f.t.Errorf("the difference does not name host and hash:\n%s", out)
	}
	f.run(exitOK, "tokens", "--apply", "--prune")
	if got := f.tctl("get", "token/"+f.name); unstamped(got) != unstamped(good) {
		f.t.Errorf("the token was:\n%s\nand is:\n%s", good, got)
	}
	f.run(exitOK, "tokens", "--diff", "--check")
}

// unstamped is a resource without what every write changes: the labels that name it, and the server's revision.
func unstamped(text string) string {
	return regexp.MustCompile(`(?m)^\s*(fleetctl\.dev/(write|epoch)|revision):.*\n`).ReplaceAllString(text, "")
}

// acceptsBoard gives a host another TPM. Whatever a host shows, its rule stays until somebody accepts the change.
func (r *rollout) acceptsBoard(f fleet) {
	h := f.Host("node-01")
	old, _, err := identity(h)
	if err != nil {
		f.t.Fatal(err)
	}
	h.Kill()
	if err := f.ReplaceTPM(within(f.t), h); err != nil {
		f.t.Fatal(err)
	}
	f.start(h)
	// Its tbot is refused now, and tries again every five seconds. The lab's device, unlike a kernel's, takes one user.
	f.exec(h.Name, "systemctl", "stop", "tbot")
	cluster := f.cluster()
	if got := f.fleetctl(exitFailed, "enroll").host(f.t, h.Name); got.Status != "changed-ek" {
		f.t.Errorf("%+v", got)
	}
	if got := f.cluster(); got != cluster {
		f.t.Errorf("the cluster had:\n%s\nand has:\n%s", cluster, got)
	}
	f.run(exitOK, "records", "accept", h.Name)
	if got := f.fleetctl(exitOK, "enroll").host(f.t, h.Name); got.Outcome == "failed" {
		f.t.Errorf("%+v", got)
	}
	now, _, err := identity(h)
	if err != nil {
		f.t.Fatal(err)
	}
	if token := f.tctl("get", "token/"+f.name); strings.Contains(token, old) || !strings.Contains(token, now) {
		f.t.Errorf("the token has not the new board alone:\n%s", token)
	}
	if _, ok := f.instances()[now]; !ok {
		f.t.Error("the new board has not joined")
	}
}

// kept are the paths that a removal leaves changed: the copies that the account tools keep of their files, and the tbot
// that was replaced.
var kept = []string{
	"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-",
	"/usr/local/bin/tbot", "/usr/local/bin/tbot.previous",
}

func (r *rollout) removes(f fleet) {
	f.run(exitChanges, "remove", "--check", "node-01", "node-02", "rules-01", "root-01")
	f.run(exitOK, "remove", "--yes", "root-01")
	if got := f.cluster(); strings.Contains(got, "root-01") || !strings.Contains(got, "node-01") {
		f.t.Errorf("not the one rule is gone:\n%s", got)
	}
	f.run(exitOK, "remove", "--yes", "node-01", "node-02", "rules-01")
	if got := f.cluster(); strings.Contains(got, "ek_public_hash") {
		f.t.Errorf("rules are left:\n%s", got)
	}
	for name, after := range f.disks() {
		for _, line := range r.before[name].Diff(after) {
			path := strings.Fields(line)[1]
			// A directory whose entries have come and gone, or a file that says again what the base image does, is as before.
			if !slices.Contains(kept, path) && !f.sameAsBase(path, after[path]) {
				f.t.Errorf("%s: %s", name, line)
			}
		}
	}
	f.noTraces()
}

// sameAsBase tells whether a path of a disk says the same as the base image.
func (f fleet) sameAsBase(path, line string) bool {
	base, err := f.InBase(path)
	return err == nil && base == line
}

// TestAKilledControllerIsMadeUpFor kills fleetctl without warning at several moments of an enroll.
func TestAKilledControllerIsMadeUpFor(t *testing.T) {
	f := newFleet(t, lab.Up(t, lab.Spec{Name: "node-01"}, lab.Spec{Name: "node-02"}))
	for _, after := range []string{"0.5", "1", "1.5", "2", "2.5", "3", "4", "5"} {
		if out, err := f.Command(within(t), "timeout", "-s", "KILL", after, "fleetctl", "enroll").CombinedOutput(); err == nil {
			t.Logf("it was faster than %s s: %s", after, out)
			break
		}
		for _, h := range f.Hosts {
			f.quiet(h)
		}
	}
	f.fleetctl(exitOK, "enroll")
	for _, h := range f.fleetctl(exitOK, "enroll").Hosts {
		if h.Outcome != "ok" {
			t.Errorf("%+v", h)
		}
	}
	f.allHealthy()
	f.noTraces()
}
