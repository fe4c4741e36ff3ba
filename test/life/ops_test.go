package life

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fleetctl/enroll"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/enroll/tpm/wire"
	"fleetctl/inventory"
)

// op is a command, or something else that happens.
type op struct {
	Kind  string
	A, B  int   `json:",omitempty"` // which host, which value…
	Ctl   int   `json:",omitempty"` // which controller
	Fault fault `json:",omitzero"`
}

func (o op) String() string {
	s := fmt.Sprintf("%s(%d,%d)", o.Kind, o.A, o.B)
	if o.Ctl > 0 {
		s += fmt.Sprintf(" at controller %d", o.Ctl)
	}
	if o.Fault.What != "" {
		s += fmt.Sprintf(" with %s at %s %d", o.Fault.What, o.Fault.Where, o.Fault.N)
	}
	return s
}

// kinds of ops and how often they come.
var kinds = map[string]int{
	"scan": 2, "enroll": 10, "enroll-limit": 5, "enroll-canary": 3, "install-only": 2,
	"tokens": 2, "apply": 4, "apply-rebalance": 1, "again": 2,
	"remove": 3, "remove-offline": 2, "remove-resume": 1, "forget": 1, "accept": 3, "disable": 1, "enable": 1, "readmit": 1,
	"rename": 2, "alias": 1, "token-name": 3, "max-rules": 2, "cas": 3, "without": 1, "bot": 2,
	"down": 3, "up": 3, "left": 2, "new": 2, "board": 2, "swap": 1, "clone": 1, "reimage": 1, "reboot": 1,
	"time": 4, "clock": 1, "db-lost": 1, "db-copy": 2, "db-restore": 1, "controller": 1, "race": 2,
	"old-file": 1, "delete-token": 1, "foreign-rule": 1, "foreign-token": 1, "wrong-cluster": 1, "check": 2, "gitops": 2,
	"old-records": 1, "lost-records": 1, "recover": 1, "plan": 2, "apply-plan": 2, "planned": 1, "remove-pattern": 1, "sibling": 1,
	"strict-policy": 1, "old-backup": 1, "resume": 1, "tokens-only": 1, "contract": 2, "adopt": 1, "prune": 1, "export": 1, "import": 1, "moved": 1,
}

// commands are those that a fault can hit.
var commands = strings.Fields("scan enroll enroll-limit enroll-canary install-only tokens apply apply-rebalance remove remove-offline accept recover rename-record plan apply-plan remove-pattern " +
	"resume tokens-only contract adopt prune import")

// pick is one of some, by number.
func pick[T any](all []T, n int) T { return all[n%len(all)] }

// do does one thing.
func (w *world) do(o op) {
	if slices.Contains(strings.Split(*flagWithout, ","), o.Kind) {
		return
	}
	w.say("%s", o)
	c := pick(w.ctls, o.Ctl)
	n := pick(w.names, o.A)
	m := n.m
	switch o.Kind {
	case "scan", "enroll", "enroll-limit", "enroll-canary", "install-only", "tokens", "apply", "apply-rebalance", "remove",
		"remove-offline", "remove-resume", "remove-pattern", "forget", "accept", "disable", "enable", "readmit", "recover", "plan", "apply-plan",
		"resume", "tokens-only", "contract", "adopt", "prune", "import":
		w.command(c, o)
	case "again":
		w.again(c)
	case "check":
		w.dryRun(c, o)
	case "gitops":
		w.gitops(c, pick([]string{"tokens", "tokens-blind"}, o.A), o.B%2 == 1)
	case "foreign-token":
		w.foreignToken(pick([]string{"fleet", "prod", "site", "fleet-2", "prod-hash-only"}, o.B))
	case "race":
		w.race(o)
	case "planned":
		w.inTurn(o, op{Kind: "plan"}, op{Kind: "apply-plan", Fault: o.Fault})
	case "old-records":
		w.inTurn(o, op{Kind: "token-name", B: o.B}, op{Kind: "enroll"}, op{Kind: "db-copy"}, op{Kind: "token-name", B: o.B + 1}, op{Kind: "enroll"},
			op{Kind: "db-restore", B: -1}, op{Kind: "token-name", B: o.B}, op{Kind: pick([]string{"enroll", "apply"}, o.A)})
	case "old-backup": // from before the run that took the old token away
		w.inTurn(o, op{Kind: "token-name", B: o.B}, op{Kind: "enroll"}, op{Kind: "token-name", B: o.B + 1}, op{Kind: "enroll"}, op{Kind: "db-backup"},
			op{Kind: "token-name", B: o.B}, op{Kind: "enroll"}, op{Kind: "db-restore", B: -1}, op{Kind: "token-name", B: o.B + 1},
			op{Kind: pick([]string{"apply", "enroll"}, o.A)})
	case "lost-records":
		w.inTurn(o, op{Kind: "tokens"}, op{Kind: "db-lost"}, op{Kind: "down", A: o.A}, op{Kind: "down", A: o.A + 1},
			op{Kind: "down", A: o.A + 2}, op{Kind: "scan"}, op{Kind: "gitops", A: 1, B: o.B})
	case "export":
		w.export(c)
	case "moved":
		w.moveRecords(c, o)
	case "strict-policy":
		w.strictPolicy(c, o)
	case "wrong-cluster":
		if !w.bound(c) {
			return // whose cluster it is, only tctl says
		}
		w.astray = true
		w.command(c, op{Kind: []string{"apply", "remove", "enroll"}[o.B%3], A: o.A, B: 1})
		w.astray = false
	case "rename":
		if !strings.Contains(n.name, "-r") {
			n.name += "-r"
		}
		if o.B%2 == 1 {
			w.command(c, op{Kind: "rename-record", A: o.A})
		}
	case "alias":
		alias := w.addName(fmt.Sprintf("a%d-%s", len(w.names), n.name), m)
		if o.B%3 > 0 {
			alias.vars["fleetctl_same_as"] = n.name
		}
	case "token-name":
		c.config.Token.Name = pick([]string{"fleet", "prod", "site"}, o.B)
	case "max-rules":
		c.config.Token.MaxRules = pick([]int{4, 2, 7, 3, 1}, o.B)
	case "cas":
		c.config.Token.EKCertCAs = pick([][]string{nil, w.casFiles[:1], w.casFiles[1:], w.casFiles}, o.B)
	case "without":
		c.config.Token.WithoutEKCert = pick([]string{"", "refuse"}, o.B)
	case "bot":
		if o.B%2 == 0 {
			delete(n.vars, "fleetctl_bot")
		} else {
			n.vars["fleetctl_bot"] = map[string]any{"name": "db", "roles": []any{"db-access"}}
		}
	case "down", "up":
		m.host.With(func(s *enrolltest.State) { s.Down = o.Kind == "down" })
	case "left":
		c.absent[n.name] = !c.absent[n.name]
	case "new":
		if len(w.machines) < 12 {
			w.addName(fmt.Sprintf("n%d", len(w.names)), w.newMachine(w.newBoard(o.B%3-1)))
		}
	case "board":
		m.mount(w.newBoard(o.B%3 - 1))
		m.foreign = true
		m.boot()
	case "swap":
		if other := pick(w.names, o.B).m; other != m {
			a, b := m.board, other.board
			m.mount(b)
			other.mount(a)
			m.foreign, other.foreign = true, true
			m.boot()
			other.boot()
		}
	case "clone":
		if len(w.machines) < 12 {
			w.addName(fmt.Sprintf("c%d-%s", len(w.names), n.name), w.newMachine(m.board))
		}
	case "reimage":
		m.install(w)
		m.was = ""
	case "reboot":
		m.boot()
	case "time":
		w.pass(pick([]time.Duration{20 * time.Minute, 3 * time.Hour, 48 * time.Hour, 40 * 24 * time.Hour}, o.B))
	case "clock":
		w.turnClock()
	case "db-lost":
		w.must(os.RemoveAll(c.db))
		w.forget()
	case "db-copy", "db-backup":
		from := c.db
		if o.Kind == "db-backup" {
			from += ".backup"
		}
		if data, err := os.ReadFile(filepath.Clean(from)); err == nil {
			file := fmt.Sprintf("%s.copy%d-%d", c.db, c.id, len(c.copies))
			w.must(os.WriteFile(file, data, 0o600))
			c.copies = append(c.copies, file)
		}
	case "db-restore":
		if len(c.copies) > 0 {
			if o.B < 0 {
				o.B += len(c.copies) // the newest
			}
			data, err := os.ReadFile(pick(c.copies, o.B))
			w.must(err)
			w.must(os.WriteFile(c.db, data, 0o600))
			w.forget()
		}
	case "controller":
		if len(w.ctls) < 3 {
			second := w.newController(c)
			if data, err := os.ReadFile(c.db); err == nil { // without any records nobody could know who was removed
				w.must(os.WriteFile(second.db, data, 0o600))
			}
		}
	case "sibling":
		if len(w.ctls) < 3 {
			w.newSibling(c, o.B)
		}
	case "old-file", "delete-token", "foreign-rule":
		w.outsiderActs(map[string]int{"old-file": 0, "delete-token": 1, "foreign-rule": 2}[o.Kind] + 3*o.A)
	default:
		w.broken("MODEL: no such op: %s", o.Kind)
	}
}

func (w *world) must(err error) {
	if err != nil {
		w.broken("MODEL: %v", err)
	}
}

// pass lets time pass, in which tbots renew.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	for _, m := range w.machines {
		m.renew(w)
	}
}

// turnClock sets the controllers' clock to what it should be or, when it is so, ten years ahead.
func (w *world) turnClock() {
	by := w.ahead
	if by <= 0 {
		by = 10 * 365 * 24 * time.Hour
	}
	time.Sleep(by)
	w.ahead -= by
	for _, m := range w.machines {
		m.host.With(func(s *enrolltest.State) { s.Clock = w.ahead })
	}
}

// outsiderActs changes the cluster as somebody does who does not know of us: 0 applies a file that once stood in out/, 1
// deletes a token, 2 gives one a rule of his own. Whoever loses a rule by that has lost it by him.
func (w *world) outsiderActs(how int) {
	c := w.clusters[0]
	which := how / 3
	names := c.Tokens()
	switch {
	case how%3 == 0 && len(w.archive) > 0:
		doc := pick(w.archive, which)
		name := strings.Fields(doc[strings.Index(doc, "name:"):])[1]
		w.say("    somebody applies an old file: %s", name)
		w.must(c.Put(doc))
		delete(w.theirs, name)
	case how%3 == 1 && len(names) > 0:
		w.say("    somebody deletes token %s", pick(names, which))
		c.Delete("token/" + pick(names, which))
		delete(w.theirs, pick(names, which))
	case how%3 == 2 && len(names) > 0:
		out := w.document(pick(names, which))
		rule := fmt.Sprintf(`"allow": [{"description": "theirs", "ek_public_hash": "%064x"},`, 0xbad00+which)
		doc := strings.Replace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(out), "["), "]"), `"allow": [`, rule, 1)
		w.say("    somebody gives token %s a rule", pick(names, which))
		w.must(c.Put(doc))
		if w.theirs[pick(names, which)] != "" {
			w.theirs[pick(names, which)] = w.document(pick(names, which))
		}
		w.lookAgain()
		return
	default:
		return
	}
	w.outsider, w.acted = true, true
	w.lookAgain()
}

// command runs a command to its end.
func (w *world) command(c *controller, o op) {
	cluster := 0
	if w.astray {
		cluster = 1
	}
	a, job := w.start(c, o, cluster)
	w.turns.run(uint64(o.A)*31+uint64(o.B), job)
	w.ended(a)
}

// start makes a command that has not begun.
func (w *world) start(c *controller, o op, cluster int) (*actor, func()) {
	time.Sleep(time.Minute) // people need some time, too: joins of one run are later than those of the run before
	ctx, stop := context.WithCancelCause(context.Background())
	a := &actor{w: w, c: c, name: fmt.Sprintf("ctl%d %s", c.id, o.Kind), cluster: cluster, fault: o.Fault, stop: stop, n: map[string]int{}}
	a.op, a.names = o, w.chosen(c, o)
	a.before, a.disturbed = w.allRules(), w.outsider
	w.acted = false
	a.configured = w.configurations()
	return a, func() {
		defer stop(nil)
		st, err := store.OpenWith(ctx, c.db, store.Options{Existing: o.Kind != "scan" && o.Kind != "import" && !strings.HasPrefix(o.Kind, "enroll")})
		if err != nil {
			a.err = err
			return
		}
		defer func() { w.must(st.Close()) }()
		a.err = a.run(ctx, st)
	}
}

// chosen are the names that a command is about.
func (w *world) chosen(c *controller, o op) []string {
	switch o.Kind {
	case "enroll-limit", "remove", "remove-offline", "forget", "disable", "enable", "rename-record", "contract":
		return []string{pick(w.names, o.A).name}
	case "remove-pattern":
		return w.pattern(c, o)
	case "accept": // one, or two whose boards were swapped
		return slices.Compact(slices.Sorted(slices.Values([]string{pick(w.names, o.A).name, pick(w.names, o.A+o.B%3).name})))
	}
	return nil
}

func (w *world) configurations() map[*machine]string {
	all := map[*machine]string{}
	for _, m := range w.machines {
		all[m] = m.configured()
	}
	return all
}

func namesOf(hosts []inventory.Host) (names []string) {
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return names
}

// accepted are the EKs that the records accept of hosts.
func accepted(ctx context.Context, st store.Store, names []string) (eks []string) {
	for _, name := range names {
		if rec, err := st.Record(ctx, name); err == nil && rec.Accepted != nil {
			eks = append(eks, rec.Accepted.EKHash)
		}
	}
	return eks
}

// run is the command itself.
func (a *actor) run(ctx context.Context, st store.Store) error {
	all := a.fleet(st, nil)
	switch o := a.op; o.Kind {
	case "scan":
		_, err := enroll.Scan(ctx, all, enroll.ScanOptions{Ask: a.ask(), Out: a.c.out})
		return err
	case "enroll":
		return a.enroll(ctx, all, enroll.EnrollOptions{})
	case "enroll-limit":
		a.own = accepted(ctx, st, a.names)
		some := a.fleet(st, func(name string) bool { return slices.Contains(a.names, name) })
		return a.enroll(ctx, some, enroll.EnrollOptions{})
	case "enroll-canary":
		a.w.breakTPMs(wire.ErrBusy)
		defer a.w.breakTPMs(nil)
		return a.enroll(ctx, all, enroll.EnrollOptions{})
	case "resume":
		return a.enroll(ctx, all, enroll.EnrollOptions{Resume: true})
	case "tokens-only":
		defer func() { a.results = nil }() // they are those of the scan
		return a.enroll(ctx, all, enroll.EnrollOptions{TokensOnly: true})
	case "contract", "adopt", "prune":
		return a.tokensByWord(ctx, all, st)
	case "import":
		return a.importRecords(ctx, all)
	case "install-only":
		a.own = accepted(ctx, st, namesOf(all.Hosts))
		return a.enroll(ctx, all, enroll.EnrollOptions{InstallOnly: true})
	case "enroll-check":
		return a.enroll(ctx, all, enroll.EnrollOptions{Check: true})
	case "tokens-check":
		_, err := enroll.Tokens(ctx, all, enroll.TokensOptions{Out: a.c.out, Format: "tctl", Check: true, Diff: true})
		return err
	case "tokens", "tokens-blind", "apply", "apply-rebalance":
		if o.Kind == "tokens-blind" {
			all.Cluster = nil // a controller that nobody gave a tctl
		}
		_, err := enroll.Tokens(ctx, all, enroll.TokensOptions{
			Out: a.c.out, Format: "tctl", Apply: strings.HasPrefix(o.Kind, "apply"), Rebalance: o.Kind == "apply-rebalance",
		})
		return err
	case "remove", "remove-offline":
		a.word(ctx, st, o.Kind)
		_, err := enroll.Remove(ctx, all, enroll.RemoveOptions{
			Names: a.names, Offline: o.Kind == "remove-offline", Out: a.c.out, Yes: true,
		})
		return err
	case "plan":
		return a.propose(ctx, all)
	case "apply-plan":
		return a.applyPlan(ctx, all)
	case "remove-pattern":
		return a.removePattern(ctx, all, st)
	case "remove-resume":
		_, err := enroll.Remove(ctx, all, enroll.RemoveOptions{Resume: true, Out: a.c.out, Yes: true})
		return err
	case "disable", "enable", "readmit":
		return a.setState(ctx, all, o.Kind)
	case "forget":
		a.word(ctx, st, o.Kind)
		return enroll.ForgetRecords(ctx, all, a.names...)
	case "accept":
		a.word(ctx, st, o.Kind)
		_, err := enroll.AcceptRecords(ctx, all, false, a.names...)
		return err
	case "rename-record":
		_, err := enroll.RenameRecord(ctx, all, strings.TrimSuffix(a.names[0], "-r"), a.names[0])
		return err
	case "recover":
		_, err := enroll.Recover(ctx, all, enroll.RecoverOptions{Out: a.c.out, Clock: o.B%2 == 1})
		return err
	}
	return fmt.Errorf("no such command: %s", a.op.Kind)
}

// enroll enrolls hosts, and keeps what it said of them.
func (a *actor) enroll(ctx context.Context, f enroll.Fleet, opts enroll.EnrollOptions) error {
	opts.Ask, opts.Out = a.ask(), a.c.out
	report, err := enroll.Enroll(ctx, f, opts)
	a.results = report.Results
	return err
}

// word notes which EKs a person takes the rule from.
func (a *actor) word(ctx context.Context, st store.Store, why string) {
	for _, name := range a.names {
		if rec, err := st.Record(ctx, name); err == nil && rec.Accepted != nil {
			a.eks = append(a.eks, rec.Accepted.EKHash)
			if why == "accept" && rec.Pending == nil {
				a.eks = nil
			}
		}
	}
	for _, name := range a.names { // one that waits for acceptance goes, too, when it is nobody else's
		if rec, err := st.Record(ctx, name); err == nil && rec.Pending != nil && strings.HasPrefix(why, "remove") && a.w.excused[rec.Pending.EKHash] == "" {
			a.w.excused[rec.Pending.EKHash] = why
			a.lifts = append(a.lifts, rec.Pending.EKHash)
		}
	}
	for _, ek := range a.eks {
		if a.w.excused[ek] == "" {
			a.w.excused[ek] = why
			a.lifts = append(a.lifts, ek)
		}
	}
}

// setState takes a machine out, or lets it in again.
func (a *actor) setState(ctx context.Context, f enroll.Fleet, action string) error {
	w := a.w
	switch action {
	case "readmit":
		out := slices.DeleteFunc(slices.Sorted(maps.Keys(w.out)), func(ek string) bool { return strings.HasPrefix(w.out[ek], "disable") })
		if len(out) == 0 {
			return nil
		}
		changes, err := enroll.ReadmitRecords(ctx, f, pick(out, a.op.A))
		a.letIn(changes)
		return err
	case "enable":
		changes, err := enroll.EnableRecords(ctx, f, a.names...)
		a.letIn(changes)
		return err
	}
	changes, err := enroll.DisableRecords(ctx, f, a.names...)
	for _, c := range changes {
		if c.Changed() {
			w.excused[c.EKHash], w.waiting[c.EKHash] = action, action+" "+c.Host
		}
	}
	return err
}

// letIn notes machines that a person wants in again.
func (a *actor) letIn(changes []records.StateChange) {
	for _, c := range changes {
		if c.Changed() {
			delete(a.w.out, c.EKHash)
			delete(a.w.waiting, c.EKHash)
			delete(a.w.unheard, c.EKHash)
		}
	}
}

// breakTPMs lets every TPM fail for whoever opens it.
func (w *world) breakTPMs(err error) {
	for _, m := range w.machines {
		m.host.TPM.Err = err
	}
}

// ended holds the world against what has to be so at the end of a command.
func (w *world) ended(a *actor) {
	w.say("  → %v%s", a.err, map[bool]string{true: " (killed)"}[a.dead])
	through := a.err == nil || errors.Is(a.err, outcome.ErrHostsFailed)
	if through { // else it was broken off, and nobody knows before which host
		a.notes = slices.Concat(a.failed, a.notes)
	}
	for _, n := range a.notes {
		w.say("    %s", n)
	}
	if *flagVerbose {
		w.sayRecords(a.c)
	}
	w.keepFiles(a.c)
	switch {
	case a.cluster != 0:
	case errors.Is(a.err, outcome.ErrInput):
		for _, ek := range a.lifts { // nothing was done
			delete(w.excused, ek)
		}
	}
	applied := a.op.Kind == "enroll" || a.op.Kind == "apply" || a.op.Kind == "enroll-canary" || a.op.Kind == "enroll-limit"
	if a.cluster == 0 && (a.op.Kind == "enroll" || a.op.Kind == "apply") && a.err == nil && a.n["tctl"] > 0 && !w.acted {
		w.outsider = false // it had the whole fleet in its hands
	}
	switch a.op.Kind {
	case "remove", "remove-offline", "remove-pattern":
		if a.err == nil {
			for _, ek := range a.eks {
				w.out[ek] = a.op.Kind + " " + strings.Join(a.names, " ")
			}
			w.checkGone(a)
			if a.op.B%2 == 0 {
				for _, n := range a.names {
					a.c.absent[n] = true
				}
			}
		}
	case "accept":
		if a.err == nil {
			for _, ek := range a.eks {
				w.waiting[ek] = "accept " + strings.Join(a.names, " ")
			}
		}
	}
	if applied && through && !a.dead && a.cluster == 0 && a.c.id == 0 && a.n["tctl"] > 0 {
		w.replace()
	}
	if applied && a.err == nil {
		w.lift()
	}
	if (a.op.Kind == "enroll" || a.op.Kind == "apply") && through && !a.dead && a.cluster == 0 {
		for ek, why := range w.unheard {
			if w.heard(a.c, ek) {
				w.out[ek] = why
				delete(w.unheard, ek)
			}
		}
	}
	w.checkCluster(a)
	w.checkTheirs(a)
	w.checkBrake(a)
	w.checkPlan(a)
	w.checkPattern(a)
	if a.dead {
		return
	}
	if a.op.Kind == "enroll-limit" && a.fault.What != "other" && !a.disturbed {
		but := func(ek string) bool {
			return slices.ContainsFunc(w.names, func(n *name) bool { return slices.Contains(a.names, n.name) && n.m.board.ek == ek }) ||
				slices.Contains(a.own, ek) ||
				w.waiting[ek] != "" || w.out[ek] != "" || w.excused[ek] != ""
		}
		for _, ek := range sameRules(a.before, a.inOld(w.allRules()), but) {
			w.broken("LIMIT: %s had rules in %v, and has them in %v", w.whose(ek), a.before[ek], w.allRules()[ek])
		}
	}
	if !w.outsider && !w.racing && a.cluster == 0 {
		w.checkResults(a)
	}
	if a.op.Kind == "enroll-canary" {
		var changed []string
		for m, was := range a.configured {
			if now := m.configured(); now != was && now != "" { // one that a removal had left waits for no canary
				changed = append(changed, m.String())
			}
		}
		if len(changed) > 1 {
			slices.Sort(changed)
			w.broken("CANARY: it failed, and %v have another token", changed)
		}
	}
}

// inOld leaves only tokens that there were before a command: one that somebody deleted is made again for all.
func (a *actor) inOld(rules map[string][]string) map[string][]string {
	was := map[string]bool{}
	for _, tokens := range a.before {
		for _, t := range tokens {
			was[t] = true
		}
	}
	old := map[string][]string{}
	for ek, tokens := range rules {
		if in := slices.DeleteFunc(slices.Clone(tokens), func(t string) bool { return !was[t] }); len(in) > 0 {
			old[ek] = in
		}
	}
	return old
}

// knows says whether a command can know which board a machine has: it scans, or its own records have the one that was seen last.
// Another controller may have seen more.
func (a *actor) knows(m *machine) bool {
	return a.op.Kind != "install-only" || m.scanned == m.board.ek && slices.Contains(a.own, m.board.ek)
}

// checkResults: a host that is said to be well can join (invariant 6).
func (w *world) checkResults(a *actor) {
	for _, r := range a.results {
		n := w.find(r.Host)
		if n == nil || r.Outcome != outcome.OK && r.Outcome != outcome.Changed || strings.HasSuffix(a.op.Kind, "-check") {
			continue
		}
		if !a.knows(n.m) {
			continue // another machine may join with its EK
		}
		n.m.foreign = false
		token := n.m.configured()
		if err := w.admits(n.m, token); err != nil || n.m.running() != token {
			w.broken("OK WITHOUT A JOIN: %s (%s) is %s, has token %q and runs with %q: %v", r.Host, n.m, r.Outcome, token, n.m.running(), err)
		}
	}
}

// checkGone: a removal that ended well has taken tbot from the host.
func (w *world) checkGone(a *actor) {
	for _, name := range a.names {
		if n := w.find(name); n != nil && strings.HasPrefix(a.op.Kind, "remove") && !a.offline() && n.m.configured() != "" && !a.c.absent[name] {
			w.broken("LEFT BEHIND: %s was removed and has a token", name)
		}
	}
}

// replace: EKs that were replaced are out from now on, unless another machine has them.
func (w *world) replace() {
	for ek, why := range w.waiting {
		if strings.HasPrefix(why, "disable") || !slices.ContainsFunc(w.names, func(n *name) bool { return n.m.board.ek == ek }) {
			w.out[ek] = why
		}
		delete(w.waiting, ek)
	}
}

// lift ends the excuse of machines that can join again.
func (w *world) lift() {
	for ek := range w.excused {
		if w.out[ek] == "" && w.waiting[ek] == "" && len(w.rulesOf(ek)) > 0 {
			ok := !slices.ContainsFunc(w.ctls, func(c *controller) bool { return w.heard(c, ek) }) // one may take it out yet
			for _, m := range w.machines {
				for _, token := range m.tokens() {
					if m.board.ek == ek && w.admits(m, token) != nil {
						ok = false
					}
				}
			}
			if ok {
				delete(w.excused, ek)
			}
		}
	}
}

// keepFiles remembers what stood in out/.
func (w *world) keepFiles(c *controller) {
	files, _ := filepath.Glob(filepath.Join(c.out, "*.yaml"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err == nil && bytes.Contains(data, []byte("kind: token")) && !slices.Contains(w.archive, string(data)) && len(w.archive) < 12 {
			w.archive = append(w.archive, string(data))
		}
	}
}

// again runs the same command twice: when the first one was well, the second one writes nothing.
func (w *world) again(c *controller) {
	var first *actor
	for i := range 2 {
		before := w.files(c)
		a, job := w.start(c, op{Kind: "enroll"}, 0)
		w.turns.run(1, job)
		w.ended(a)
		if i == 0 {
			first = a
			continue
		}
		if first.err == nil && (len(a.wrote) > 0 || !maps.Equal(before, w.files(c))) {
			w.broken("SECOND RUN: it wrote %q", a.wrote)
		}
	}
}

// files are those of out/.
func (w *world) files(c *controller) map[string]string {
	all := map[string]string{}
	found, _ := filepath.Glob(filepath.Join(c.out, "*"))
	for _, f := range found {
		data, _ := os.ReadFile(f)
		all[f] = string(data)
	}
	return all
}

// inTurn does what belongs together, at one controller.
func (w *world) inTurn(o op, all ...op) {
	for _, next := range all {
		if next.Ctl = o.Ctl; w.bad == "" {
			w.do(next)
		}
	}
}

// strictPolicy has machines that wait for their first tbot, and whose rules nobody has seen in the cluster, since the process was
// killed when it had written them; and a policy that admits none of them, which a person takes back once it was refused.
func (w *world) strictPolicy(c *controller, o op) {
	first := len(w.names)
	w.inTurn(o, op{Kind: "new"}, op{Kind: "new"}, op{Kind: "new"}, op{Kind: "scan"})
	for i := range w.names[first:] {
		w.inTurn(o, op{Kind: "down", A: first + i})
	}
	before := c.config.Token
	c.config.Token.MaxRules = 50 // one token has place for them all
	killed := fault{Where: "tctl", What: "after", At: "create"}
	w.inTurn(o, op{Kind: "enroll", Fault: killed}, op{Kind: "cas", B: 3}, op{Kind: "without", B: 1}, op{Kind: "apply"})
	c.config.Token = before
}

// race lets two controllers with the same records publish at once, each with a host that the other does not know; after one
// more run each the cluster has the union, and whoever was overwritten has heard of it.
func (w *world) race(o op) {
	second := w.rival()
	if second == nil {
		return
	}
	both := []*controller{w.ctls[0], second}
	second.config = w.ctls[0].config // two policies that move the same hosts back and forth satisfy nobody
	for i := range 2 {
		if len(w.machines) < 14 {
			both[1-i].absent[w.addName(fmt.Sprintf("r%d", len(w.names)), w.newMachine(w.newBoard(-1))).name] = true
		}
	}
	kind := pick([]string{"enroll", "enroll", "apply"}, o.A)
	if kind == "apply" {
		w.inTurn(op{}, op{Kind: "scan"})
		w.inTurn(op{Ctl: second.id}, op{Kind: "scan"})
	}
	var actors []*actor
	var jobs []func()
	for _, c := range both {
		a, job := w.start(c, op{Kind: kind}, 0)
		actors, jobs = append(actors, a), append(jobs, job)
	}
	w.racing = true
	w.turns.run(uint64(o.B), jobs...)
	lost := overwritten(actors)
	for _, a := range actors {
		w.ended(a)
	}
	w.racing = false
	well := !w.outsider
	for i, c := range both {
		a, job := w.start(c, op{Kind: "apply"}, 0)
		w.turns.run(1, job)
		w.ended(a)
		well = well && (a.err == nil || errors.Is(a.err, outcome.ErrHostsFailed) || errors.Is(a.err, token.ErrLostRace))
		if token := lost[i]; token != "" && a.err == nil && !actors[i].heard("TokenAlarm") && !a.heard("TokenAlarm") {
			w.broken("LOST RACE: %s wrote token %q, somebody else wrote the same epoch over it, and neither run says so", actors[i].name, token)
		}
	}
	if !well {
		return
	}
	w.checkUnion(both)
	known := w.assigned(both[0])
	maps.Copy(known, w.assigned(both[1]))
	for _, m := range w.machines {
		for _, token := range m.tokens() {
			if known[m.board.ek] != "" && m.owed[token] && w.admits(m, token) != nil && w.excused[m.board.ek] == "" && w.out[m.board.ek] == "" && !w.unclear(m) {
				w.broken("NOT MERGED: %s has token %q, and after one more run of each controller it does not admit it", m, token)
			}
		}
	}
}

// overwritten says for each of two actors which token of its the other one has written in the same epoch after it.
func overwritten(actors []*actor) (lost [2]string) {
	for i, a := range actors {
		for token, mine := range a.last {
			if other, ok := actors[1-i].last[token]; ok && other.at > mine.at && other.epoch == mine.epoch && other.write != mine.write && other.rules != mine.rules &&
				(lost[i] == "" || token < lost[i]) {
				lost[i] = token
			}
		}
	}
	return lost
}

// checkUnion: after one more run of each publisher, everybody that one of them admits is in.
func (w *world) checkUnion(ctls []*controller) {
	for _, c := range ctls {
		assigned := w.assigned(c)
		for _, ek := range slices.Sorted(maps.Keys(assigned)) {
			if len(w.rulesOf(ek)) == 0 && w.out[ek] == "" && w.waiting[ek] == "" && w.excused[ek] == "" {
				w.broken("UNION: %s has a rule by the records of controller %d (%s), and none in the cluster", w.whose(ek), c.id, assigned[ek])
			}
		}
	}
}

// sayRecords tells what the records know of each machine.
func (w *world) sayRecords(c *controller) {
	ctx := context.Background()
	st, err := store.OpenWith(ctx, c.db, store.Options{Existing: true})
	if err != nil {
		w.say("    records: %v", err)
		return
	}
	defer func() { w.must(st.Close()) }()
	ways := map[string][]string{}
	for way, err := range st.Ways(ctx) {
		w.must(err)
		ways[way.EKHash] = append(ways[way.EKHash], fmt.Sprintf("%s (%s, run %d)", way.Token, way.Evidence, way.Run))
	}
	planned := w.assignedIn(st)
	for m, err := range st.Machines(ctx) {
		w.must(err)
		w.say("    records: %s %s: %s; joined %q in run %d; may have %s; rules in %v", w.whose(m.EKHash), m.State, planned[m.EKHash],
			m.Joined, m.JoinedRun, strings.Join(ways[m.EKHash], ", "), w.rulesOf(m.EKHash))
	}
}

// assigned are the EKs that the records of a controller have a token for.
func (w *world) assigned(c *controller) map[string]string {
	all := map[string]string{}
	st, err := store.OpenWith(context.Background(), c.db, store.Options{Existing: true})
	if err != nil {
		return all
	}
	defer func() { w.must(st.Close()) }()
	return w.assignedIn(st)
}

// assignedIn says which token each EK is assigned to, and as which host.
func (w *world) assignedIn(st store.Store) map[string]string {
	all := map[string]string{}
	for r, err := range st.Records(context.Background()) {
		w.must(err)
		if err == nil && r.Accepted != nil && r.Token != "" && r.TokenEK == r.Accepted.EKHash {
			all[r.Accepted.EKHash] = r.Host + " → " + r.Token
		}
	}
	return all
}

// dryRun runs a command that may write nothing.
func (w *world) dryRun(c *controller, o op) {
	before := w.files(c)
	a, job := w.start(c, op{Kind: pick([]string{"enroll-check", "tokens-check"}, o.B)}, 0)
	w.turns.run(1, job)
	w.ended(a)
	if len(a.wrote) > 0 || !maps.Equal(before, w.files(c)) {
		w.broken("DRY RUN: it wrote %q", a.wrote)
	}
}

// gitops writes the files, and applies them in their order as a pipeline does; prune: it deletes tokens whose files are
// gone, as Terraform does.
func (w *world) gitops(c *controller, kind string, prune bool) {
	if len(w.ctls) > 1 || w.outsider {
		return // whose files are older, only people know
	}
	a, job := w.start(c, op{Kind: kind}, 0)
	w.turns.run(1, job)
	w.ended(a)
	if a.err != nil && !errors.Is(a.err, outcome.ErrHostsFailed) {
		return
	}
	files := w.files(c)
	now := map[string]bool{}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		if strings.Contains(files[f], "kind: token") || strings.Contains(files[f], "kind: bot") {
			w.say("    the pipeline applies %s", filepath.Base(f))
			now[strings.TrimSuffix(filepath.Base(f), ".yaml")] = true
			if w.theirs[strings.TrimSuffix(filepath.Base(f), ".yaml")] != "" {
				continue // whoever reviews that sees whose it is
			}
			w.must(w.clusters[0].Put(files[f]))
			w.checkCluster(a)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.applied)) {
		if prune && !now[name] && w.clusters[0].Delete("token/"+name) {
			w.say("    the pipeline deletes %s", name)
			w.checkCluster(a)
		}
	}
	w.applied = now
	w.checkBrake(a)
}

// foreignToken makes a token of somebody else's bot, where there is none of that name.
func (w *world) foreignToken(name string) {
	if slices.Contains(w.clusters[0].Tokens(), name) {
		return
	}
	w.say("    somebody makes token %s for a bot of his", name)
	w.must(w.clusters[0].Put(fmt.Sprintf("kind: token\nversion: v2\nmetadata: {name: %s}\nspec:\n  roles: [Bot]\n  join_method: tpm\n"+
		"  bot_name: theirs\n  tpm:\n    allow:\n    - {description: theirs, ek_public_hash: \"%064x\"}\n", name, 0xf0)))
	w.theirs[name] = w.document(name)
}

// document is a token of the cluster as tctl shows it; "" for none.
func (w *world) document(name string) string {
	out, _, _ := w.clusters[0].Run(context.Background(), nil, []string{"get", "token/" + name, "--format=json"})
	return string(out)
}

// settle ends all faults, and holds what two enrolls make of it against what has to be so in the end.
func (w *world) settle() {
	w.say("settle")
	for _, m := range w.machines {
		m.host.With(func(s *enrolltest.State) { s.Down = false })
	}
	c := w.ctls[0]
	var last *actor
	changed := true
	for i := 0; i < 3 && (i < 2 || changed); i++ { // two converge, and mostly the first one is enough
		before := w.files(c)
		a, job := w.start(c, op{Kind: "enroll"}, 0)
		w.turns.run(1, job)
		w.ended(a)
		last, changed = a, len(a.wrote) > 0 || !maps.Equal(before, w.files(c))
	}
	if changed {
		w.broken("SECOND RUN: it wrote %q: %v", last.wrote, last.err)
	}
	known := w.assigned(c) // of what another controller alone has enrolled this one can heal nothing
	for _, m := range w.machines {
		for _, token := range m.tokens() {
			if err := w.admits(m, token); err != nil && known[m.board.ek] != "" && (m.could[token] || m.owed[token]) && !errors.Is(last.err, outcome.ErrInput) && w.excused[m.board.ek] == "" && w.out[m.board.ek] == "" && !w.unclear(m) && !m.foreign {
				w.broken("NOT HEALED: %s has token %q: %v", m, token, firstLine(err))
			}
		}
	}
}
