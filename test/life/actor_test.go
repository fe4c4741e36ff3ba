package life

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"fleetctl/enroll"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/enroll/tpm"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// errDead is what a command hears that does not live any more.
var errDead = errors.New("killed")

// fault is something that goes wrong at the N-th event of a kind in a command.
type fault struct {
	Where string `json:",omitempty"` // store, tctl or host
	What  string `json:",omitempty"` // see faults
	N     int    `json:",omitempty"` // from 1
	How   int    `json:",omitempty"`
	At    string `json:",omitempty"` // instead of N: the first event that begins so
}

// hits says whether it is the n-th event, called label, that goes wrong.
func (f *fault) hits(kind, label string, n int) bool {
	if f.Where != kind || f.N != n && (f.At == "" || !strings.HasPrefix(label, f.At)) {
		return false
	}
	f.At = ""
	return true
}

// faults are what can go wrong where. before and after: the process is killed.
var faults = map[string][]string{
	"store": {"before", "after", "error"},
	"tctl":  {"before", "after", "error", "lost", "half", "twice", "other"},
	"host":  {"before", "after", "drop", "lost", "full"},
}

// actor is one run of a command.
type actor struct {
	w       *world
	c       *controller
	name    string
	cluster int
	fault   fault
	stop    context.CancelCauseFunc
	dead    bool
	n       map[string]int
	wrote   []string // what it changed, or tried to, in the cluster and on hosts
	notes   []string
	failed  []string         // what it said of hosts
	last    map[string]write // what it wrote last, by token

	op         op
	names      []string            // of the hosts that it is about; nil: all
	eks        []string            // that a person takes the rule from
	own        []string            // that the hosts which it is about had in its records
	lifts      []string            // those of them that nobody did before
	unsaid     bool                // another number of machines was said than it takes out
	before     map[string][]string // the rules of the cluster before
	disturbed  bool                // somebody else changed the cluster before, and nobody has healed it
	configured map[*machine]string // the tokens of the machines before
	err        error               // how it ended
	results    []outcome.Result    // of an enroll
	proposal   *token.Proposal     // that it was to apply
}

// write is a token as it was written.
type write struct {
	at           int // the how-manieth command of the cluster
	epoch, write string
	rules        string // the EKs
}

var labels = regexp.MustCompile(`(?m)^\s+(name|fleetctl\.dev/epoch|fleetctl\.dev/write): "?([^"\s]+)"?$`)

var ekHashes = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// note remembers a document that was created.
func (a *actor) note(document string, at int) {
	found := map[string]string{}
	for _, m := range labels.FindAllStringSubmatch(document, -1) {
		if found[m[1]] == "" {
			found[m[1]] = m[2]
		}
	}
	if a.last == nil {
		a.last = map[string]write{}
	}
	if found["fleetctl.dev/epoch"] != "" {
		a.last[found["name"]] = write{at, found["fleetctl.dev/epoch"], found["fleetctl.dev/write"],
			fmt.Sprint(slices.Sorted(slices.Values(ekHashes.FindAllString(document, -1))))}
	}
}

// heard says whether it was told of something.
func (a *actor) heard(what string) bool {
	return slices.ContainsFunc(a.notes, func(n string) bool { return strings.Contains(n, what) })
}

// event is something that a command does to the world. do hears of what goes wrong with it, "" for nothing. It returns
// false when the command is dead and hears nothing any more.
func (a *actor) event(kind, label string, do func(wrong string)) bool {
	a.w.turns.wait(a.name + " " + kind + " " + label)
	if a.dead {
		return false
	}
	a.n[kind]++
	wrong := ""
	if a.fault.hits(kind, label, a.n[kind]) {
		wrong = a.fault.What
		a.w.say("    %s: %s at %s %d: %s", a.name, wrong, kind, a.n[kind], label)
	}
	if wrong == "before" {
		a.die()
		return false
	}
	do(wrong)
	if wrong == "after" {
		a.die()
		return false
	}
	return true
}

func (a *actor) die() {
	a.dead = true
	a.stop(errDead)
}

// commit is a commit of the records.
func (a *actor) commit(label string, do func() error) (err error) {
	if !a.event("store", label, func(wrong string) {
		if wrong == "error" {
			err = errors.New("disk I/O error")
			return
		}
		err = do()
	}) {
		return errDead
	}
	return err
}

// tctl runs tctl against the cluster.
func (a *actor) tctl(ctx context.Context, stdin []byte, args []string) (stdout, stderr []byte, code int) {
	label := strings.Join(args, " ")
	c := a.w.clusters[a.cluster]
	writes := args[0] == "create" || args[0] == "rm" || args[0] == "lock"
	run := func() {
		stdout, stderr, code = c.Run(ctx, stdin, args)
		if writes && code == 0 {
			a.wrote = append(a.wrote, "tctl "+label)
			a.note(string(stdin), len(c.Commands()))
			a.w.say("    %s: tctl %s → %s", a.name, label, strings.TrimSpace(string(stdout)))
			a.w.checkCluster(a)
		}
	}
	if !a.event("tctl", label, func(wrong string) {
		switch wrong {
		case "error":
			stderr, code = []byte("\x1b[31mERROR: \x1b[0mconnection refused\n\n"), 1
			return
		case "other":
			a.w.outsiderActs(a.fault.How)
		case "twice":
			run()
		}
		run()
		switch wrong {
		case "lost":
			stdout, stderr, code = nil, []byte("\x1b[31mERROR: \x1b[0mconnection reset by peer\n\n"), 1
		case "half":
			stdout = stdout[:len(stdout)/2]
		}
	}) {
		return nil, []byte("killed"), 1
	}
	return stdout, stderr, code
}

// conn is a connection to a host.
type conn struct {
	a *actor
	m *machine
	c *enrolltest.Conn
}

var _ host.Conn = conn{}

func (a *actor) dial(_ context.Context, t remote.Target) (c host.Conn, err error) {
	n := a.w.find(t.Name)
	if n == nil {
		return nil, &remote.Error{Kind: remote.ErrUnreachable, Err: errors.New("no such host")}
	}
	if !a.event("host", "dial "+t.Name, func(wrong string) {
		if wrong == "drop" || wrong == "lost" {
			err = &remote.Error{Kind: remote.ErrUnreachable, Err: errors.New("connection reset by peer")}
			return
		}
		var plain *enrolltest.Conn
		if plain, err = n.m.host.Connect(); err == nil {
			c = conn{a, n.m, plain}
		}
	}) {
		return nil, errDead
	}
	return c, err
}

// Run runs a script.
func (c conn) Run(ctx context.Context, cmd remote.Cmd) (out remote.Output, err error) {
	err = c.do(changes(cmd.Script), summary(cmd.Script), func() (err error) {
		out, err = c.c.Run(ctx, cmd)
		return err
	})
	return out, err
}

// WriteFile writes a file.
func (c conn) WriteFile(ctx context.Context, f remote.File, become bool) error {
	return c.do(true, "write "+f.Path, func() error { return c.c.WriteFile(ctx, f, become) })
}

// Close ends the connection.
func (c conn) Close() error { return nil }

// do is one event of a host.
func (c conn) do(writes bool, label string, run func() error) (err error) {
	if !c.a.event("host", c.m.String()+" "+label, func(wrong string) {
		lost := &remote.Error{Kind: remote.ErrDisconnected, Err: errors.New("the connection ended")}
		switch {
		case wrong == "drop":
			err = lost
			return
		case wrong == "full":
			c.m.host.With(func(s *enrolltest.State) { s.Full = true })
			defer c.m.host.With(func(s *enrolltest.State) { s.Full = false })
		}
		if err = run(); writes {
			c.a.wrote = append(c.a.wrote, c.m.String()+" "+label)
		}
		c.a.w.checkMachine(c.m, c.a)
		if wrong == "lost" {
			err = lost
		}
	}) {
		return errDead
	}
	return err
}

// changes tells the scripts that act from those that look.
func changes(script string) bool {
	return !strings.Contains(script, "\nkv uid ") && !strings.Contains(script, "\nkv state ") && !strings.Contains(script, "tpm identify")
}

// summary is a script in a few words.
func summary(script string) string {
	switch {
	case strings.Contains(script, "\nkv uid "):
		return "facts"
	case strings.Contains(script, "\nkv state "):
		return "verify"
	}
	lines := strings.Split(strings.TrimSpace(script), "\n")
	last := lines[len(lines)-1]
	return last[:min(len(last), 60)]
}

// reports are what the TPMs said, by board, CAs and year: it takes some milliseconds to ask them.
var reports = newCache[*tpm.Report]()

// askTPM asks a host's TPM, as a scan does.
func (a *actor) askTPM(ctx context.Context, h inventory.Host, opts tpm.ExamineOptions) (r *tpm.Report, err error) {
	n := a.w.find(h.Name)
	if n == nil || !n.m.up() {
		return nil, &remote.Error{Kind: remote.ErrUnreachable, Err: errors.New("connection refused")}
	}
	if !a.event("host", "scan "+h.Name, func(wrong string) {
		if wrong != "" && wrong != "after" {
			err = &remote.Error{Kind: remote.ErrDisconnected, Err: errors.New("the connection ended")}
			return
		}
		key := fmt.Sprint(n.m.board.ek, string(n.m.board.tpm.Cert), bases(a.c.config.Token.EKCertCAs), time.Now().Year(), opts.Proof)
		r, err = reports.get(key, func() (*tpm.Report, error) {
			return tpm.Examine(ctx, tpm.TPMLink(n.m.board.tpm), opts)
		})
		n.m.scanned = n.m.board.ek
		if r != nil {
			copied := *r
			copied.Findings = append([]tpm.Finding{}, r.Findings...)
			r = &copied
		}
	}) {
		return nil, errDead
	}
	return r, err
}

// fleet is what a use case works on. chosen are the names of the hosts; nil: all.
func (a *actor) fleet(st store.Store, chosen func(string) bool) enroll.Fleet {
	inv := a.w.inventory(a.c)
	f := enroll.Fleet{
		Config: a.c.config, Inventory: inv, Store: commits{a, st}, Cluster: &tctl.Tctl{Runner: tctl.Func(a.tctl)},
		Watcher: (*watcher)(a), Dial: a.dial, Confirm: func(string) bool { return true }, // whoever changed the policy means it
		Access: func(context.Context, []inventory.Host) (work.Reach, func(), error) {
			return work.Reach{Forks: 1, Timeout: time.Hour}, nil, nil
		},
	}
	for _, h := range inv {
		if chosen == nil || chosen(h.Name) {
			f.Hosts = append(f.Hosts, h)
		}
	}
	return f
}

func (a *actor) ask() scan.Ask { return scan.Ask{Proof: true, TPM: a.askTPM} }

// watcher is an actor that hears of what it does.
type watcher actor

func (*watcher) Begin(enroll.Stage, int) {}
func (*watcher) End()                    {}

func (w *watcher) Host(r outcome.Result) {
	if r.Bad() {
		w.failed = append(w.failed, fmt.Sprintf("%s %s %s: %s", r.Host, r.Outcome, r.Code, r.Message))
	}
}

func (w *watcher) Note(n enroll.Note) {
	w.notes = append(w.notes, fmt.Sprintf("%T", n))
	if r, ok := n.(enroll.HostRefused); ok {
		w.w.say("    %+v", r)
	}
}

func (*watcher) Run(int64)             {}
func (*watcher) At(string, work.Doing) {}
func (*watcher) Pace(work.Pace)        {}
func (w *watcher) Logf(string, ...any) {}
