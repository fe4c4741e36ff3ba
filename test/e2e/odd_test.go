package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"fleetctl/test/lab"
)

// An oddity is a host that is odd and could be anybody's: what is odd about it, what fleetctl must say of it, and what must
// hold on it. What a table leaves out is as on a healthy host (usual). Oddities share labs, a host each, so that what one
// says must not depend on another.
type oddity struct {
	name  string // a sentence
	every bool   // it is in every run; the others where ODD says so: all, or a part of their names
	adopt bool   // enroll has --adopt

	spec  lab.Spec // its name is given to it
	setup string   // what makes it odd: run on the host, as root, before anything else

	reboot []stage                  // the host reboots before these
	before map[stage]string         // run on the host before a stage
	vars   map[stage]map[string]any // its "tbot:" in the inventory, from before a stage on
	says   map[stage]string         // what a stage says of it, where that isn't usual: "OUTCOME [STATUS][: TEXT]"; "-" for anything
	holds  map[stage]string         // what must succeed on the host after a stage

	works string   // must succeed before fleetctl comes, after an enroll that failed, and after all
	left  []string // paths that may differ from what they were in the end; what ends in "/" is all below it
}

// stage is one run of fleetctl over all hosts of a lab.
type stage string

const (
	scanned  stage = "scan"
	checked  stage = "check"
	enrolled stage = "enroll"
	again    stage = "again"
	seen     stage = "status"
	removed  stage = "remove"
	repeated stage = "repeat" // one more remove: only of hosts whose table names it, or whose first one failed
)

var oddStages = []stage{scanned, checked, enrolled, again, seen, removed, repeated}

// usual is what is said of a healthy host.
var usual = map[stage]string{
	scanned: "ok", checked: "changed", enrolled: "changed", again: "ok", seen: "healthy", removed: "changed", repeated: "changed",
}

// args are the arguments of a stage.
func (s stage) args(adopt bool, hosts []string) []string {
	var args []string
	switch s {
	case scanned:
		args = []string{"scan"}
	case checked:
		args = []string{"enroll", "--check"}
	case enrolled, again:
		args = []string{"enroll", "--join-timeout", "15s"}
	case seen:
		return []string{"status"}
	case removed, repeated:
		return append([]string{"remove", "--yes"}, hosts...)
	}
	if adopt && s != scanned {
		args = append(args, "--adopt")
	}
	return args
}

// oddHosts is how many hosts a lab of oddities has at most.
const oddHosts = 14

// TestOddities takes every oddity of the tables that this run is asked for from its first scan to its removal.
func TestOddities(t *testing.T) {
	asked := os.Getenv("ODD")
	byAdopt := map[bool][]oddity{}
	for _, o := range slices.Concat(undoOddities(), planOddities()) {
		if asked == "" && o.every || asked == "all" || asked != "" && strings.Contains(o.name, asked) {
			byAdopt[o.adopt] = append(byAdopt[o.adopt], o)
		}
	}
	n := 0
	for _, adopt := range []bool{false, true} {
		for batch := range slices.Chunk(byAdopt[adopt], oddHosts) {
			n++
			t.Run(fmt.Sprint("lab ", n), func(t *testing.T) { odd(t, fmt.Sprintf("odd-%d", n), batch) })
		}
	}
	if n == 0 {
		t.Errorf("ODD=%s is no part of any name", asked)
	}
}

// oddHost is an oddity on its host.
type oddHost struct {
	oddity
	*lab.Host
	service  string // how its service and its TPM's device were
	disk     lab.Snapshot
	failed   map[stage]bool
	problems []string
}

func (o *oddHost) errorf(format string, args ...any) {
	o.problems = append(o.problems, fmt.Sprintf(format, args...))
}

// oddRun is a lab of oddities.
type oddRun struct {
	fleet
	adopt bool
	hosts []*oddHost
}

// odd takes oddities through the stages, at once, each on a host of its own.
func odd(t *testing.T, name string, batch []oddity) {
	specs := make([]lab.Spec, len(batch))
	names := make([]string, len(batch))
	for i, o := range batch {
		names[i] = fmt.Sprintf("odd-%02d", i)
		specs[i] = o.spec
		specs[i].Name = names[i]
	}
	l := lab.Up(t, specs...)
	r := &oddRun{fleet: newFleet(t, l).apart(t, name, names...), adopt: batch[0].adopt}
	for i, o := range batch {
		r.hosts = append(r.hosts, &oddHost{oddity: o, Host: l.Host(names[i]), failed: map[stage]bool{}})
	}
	r.prepare()
	for _, s := range oddStages {
		r.stage(s)
	}
	for _, o := range r.hosts {
		r.asBefore(o)
		t.Run(o.name, func(t *testing.T) {
			for _, p := range o.problems {
				t.Error(p)
			}
		})
	}
}

// prepare makes the hosts odd and notes how they are then.
func (r *oddRun) prepare() {
	r.onEach(r.hosts, func(o *oddHost) {
		o.sh(r, "set-up", o.setup)
		o.sh(r, "before", o.works)
		o.service = o.serviceNow(r)
	})
	for _, o := range r.hosts {
		o.disk = r.diskOf(o)
	}
}

// onEach does something on hosts at once.
func (r *oddRun) onEach(hosts []*oddHost, do func(*oddHost)) {
	done := make(chan struct{})
	for _, o := range hosts {
		go func() {
			defer func() { done <- struct{}{} }()
			do(o)
		}()
	}
	for range hosts {
		<-done
	}
}

// sh runs a script on the host, which must succeed.
func (o *oddHost) sh(r *oddRun, when, script string) {
	if script == "" {
		return
	}
	if out, err := o.Exec(r.t.Context(), "sh", "-euc", script); err != nil {
		log, _ := o.Exec(r.t.Context(), "journalctl", "-n", "15", "-o", "cat", "--no-pager")
		o.errorf("%s: %v\n%s\njournal:\n%s", when, err, out, log)
	}
}

// serviceNow is what must be as it was: tbot's service and the TPM's device.
func (o *oddHost) serviceNow(r *oddRun) string {
	out, err := o.Exec(r.t.Context(), "sh", "-c", `systemctl show tbot.service -p LoadState,ActiveState,UnitFileState,FragmentPath,User
stat -c '%n %a %U:%G' /dev/tpmrm0
ls /run/fleetctl* 2>/dev/null || :`)
	if err != nil {
		o.errorf("%v", err)
	}
	return out
}

func (r *oddRun) diskOf(o *oddHost) lab.Snapshot {
	snap, err := o.Snapshot()
	if err != nil {
		o.errorf("%v", err)
	}
	return snap
}

// stage is one stage, of all hosts that take part in it.
func (r *oddRun) stage(s stage) {
	hosts := r.taking(s)
	if len(hosts) == 0 {
		return
	}
	r.onEach(hosts, func(o *oddHost) {
		if slices.Contains(o.oddity.reboot, s) {
			if err := o.Reboot(within(r.t)); err != nil {
				o.errorf("%v", err)
			}
		}
		o.sh(r, "before "+string(s), o.before[s])
	})
	r.configure(s)
	var names []string
	for _, o := range hosts {
		names = append(names, o.Name)
	}
	reports := r.reports(s.args(r.adopt, names))
	r.onEach(hosts, func(o *oddHost) {
		o.judge(s, reports[o.Name])
		if o.failed[s] && (s == enrolled || s == again) {
			o.sh(r, "after a failed "+string(s), o.works)
			if diff := r.differs(o); o.works != "" && len(diff) > 0 {
				o.errorf("after a failed %s the disk differs:\n%s", s, strings.Join(diff, "\n"))
			}
		}
		o.sh(r, "after "+string(s), o.holds[s])
	})
	if s != scanned && s != checked {
		return
	}
	for _, o := range hosts {
		if diff := r.differs(o); len(diff) > 0 {
			o.errorf("%s changed the disk:\n%s", s, strings.Join(diff, "\n"))
		}
		o.disk = r.diskOf(o)
	}
}

// taking are the hosts that take part in a stage.
func (r *oddRun) taking(s stage) []*oddHost {
	if s != repeated {
		return r.hosts
	}
	var some []*oddHost
	for _, o := range r.hosts {
		if _, named := o.says[s]; named || o.failed[removed] {
			some = append(some, o)
		}
	}
	return some
}

// configure writes the inventory and fleet.yaml, with what changes in the inventory before a stage.
func (r *oddRun) configure(s stage) {
	for _, o := range r.hosts {
		if tbot, ok := o.vars[s]; ok {
			o.Spec.Vars = map[string]any{"tbot": tbot}
		}
	}
	if err := r.WriteFiles(r.dir, r.name); err != nil {
		r.t.Fatal(err)
	}
	r.edit("fleet.yaml", "canary: 1", "canary: 0")
	r.edit("fleet.yaml", "batch: 50%", "batch: 100%")
}

// said is what fleetctl says of one host.
type said struct {
	result
	raw string
}

// reports runs fleetctl and returns what it says of every host.
func (r *oddRun) reports(args []string) map[string]said {
	cmd := r.Command(within(r.t), "fleetctl", append(args, "-o", "json")...)
	cmd.Dir = r.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	var list struct{ Hosts []json.RawMessage }
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		r.t.Fatalf("fleetctl %v: %v\n%s\n%s", args, err, &errs, &out)
	}
	all := map[string]said{}
	for _, raw := range list.Hosts {
		one := said{raw: string(raw)}
		if err := json.Unmarshal(raw, &one.result); err != nil {
			r.t.Fatal(err)
		}
		all[one.Host] = one
	}
	return all
}

// judge compares what is said of a host with what should be.
func (o *oddHost) judge(s stage, got said) {
	want, odd := o.says[s]
	if !odd {
		want = usual[s]
	}
	word := got.Outcome
	if s == seen {
		word = got.State
	}
	o.failed[s] = got.Outcome != "ok" && got.Outcome != "changed"
	verdict, text, _ := strings.Cut(want, ": ")
	outcome, code, coded := strings.Cut(verdict, " ")
	coded = coded && code != "-"
	if want != "-" && (word != outcome || coded && got.Status != code || !strings.Contains(got.raw, text)) {
		o.errorf("%s: want %s; it says %s %s: %s\n%s", s, want, word, got.Status, got.Message, got.raw)
	}
}

// asBefore checks that a host is what it was before fleetctl came.
func (r *oddRun) asBefore(o *oddHost) {
	o.sh(r, "in the end", o.works)
	if now := o.serviceNow(r); now != o.service {
		o.errorf("the service was\n%s\nand is\n%s", o.service, now)
	}
	if diff := r.differs(o); len(diff) > 0 {
		o.errorf("in the end the disk differs:\n%s", strings.Join(diff, "\n"))
	}
}

// differs is what differs on a host's disk, but for what may.
func (r *oddRun) differs(o *oddHost) []string {
	now := r.diskOf(o)
	return slices.DeleteFunc(o.disk.Diff(now), func(line string) bool {
		path := strings.Fields(line)[1]
		may := func(left string) bool {
			return path == left || strings.HasSuffix(left, "/") && strings.HasPrefix(path+"/", left)
		}
		return slices.ContainsFunc(copies, may) || slices.ContainsFunc(o.left, may) || r.sameAsBase(path, now[path])
	})
}

// copies are what the account tools keep of their files.
var copies = []string{"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-"}
