package enroll

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// tbotHere is the version of tbot on every host and of the cluster.
const tbotHere = "18.4.0"

// lab is a whole fleet in one process: hosts behind a real SSH server, over the real dialer, and a cluster in memory.
// What a test wants otherwise it changes before it calls a use case.
type lab struct {
	Fleet
	t       *testing.T
	host    map[string]*enrolltest.Host
	cluster *memcluster.Cluster
	heard   *listener
	out     string // the directory of files
	reach   work.Reach
	ssh     *remotetest.Fleet

	mu     sync.Mutex
	fault  func(enrolltest.Event) error // before something happens on any host; nil: nothing goes wrong
	events []enrolltest.Event
}

// newLab makes hosts web-01 to web-N, with the EKs 1 to N and a tbot each, and a cluster that has nothing.
func newLab(t *testing.T, n int) *lab {
	t.Helper()
	l := &lab{
		t: t, host: map[string]*enrolltest.Host{}, cluster: memcluster.NewCluster(t, tbotHere), heard: &listener{t: t},
		out: filepath.Join(t.TempDir(), "out"), reach: work.Reach{Forks: 4, Timeout: time.Minute},
	}
	var hosts []*enrolltest.Host
	for i := range n {
		h := enrolltest.NewHost(t, fmt.Sprintf("web-%02d", i+1), tbotHere)
		h.TPM, h.Cluster, h.Before = newTPM(t, i+1), l.cluster, l.before
		hosts, l.host[h.Name] = append(hosts, h), h
	}
	ssh, targets := enrolltest.Serve(t, hosts...)
	l.ssh = ssh
	source := filepath.Join(t.TempDir(), "inventory.yaml")
	if err := os.WriteFile(source, enrolltest.Inventory(targets), 0o600); err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Load(t.Context(), []string{source}, inventory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := inv.Select("all")
	if err != nil {
		t.Fatal(err)
	}
	l.Fleet = Fleet{
		Config: enrolltest.Config(), Inventory: all, Hosts: all, Groups: inv.Groups(), Select: inv.Select, Store: enrolltest.Store(t),
		Cluster: &tctl.Tctl{Runner: tctl.Func(l.cluster.Run)}, Watcher: l.heard, Access: l.access, pause: time.Millisecond,
	}
	l.Config.Rollout.Canary, l.Config.Rollout.MaxFailures = 0, "100%"
	return l
}

func newTPM(t *testing.T, number int) *softtpm.TPM {
	t.Helper()
	v, err := softtpm.NewTPM(number)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// access is the real dialer, without second tries.
func (l *lab) access(context.Context, []inventory.Host) (work.Reach, func(), error) {
	d, err := remote.NewDialer(remote.Options{SSH: "none", Retries: -1})
	if err != nil {
		return work.Reach{}, nil, err
	}
	reach := l.reach
	if reach.Dialer == nil {
		reach.Dialer = d
	}
	return reach, func() { _ = d.Close() }, nil
}

// before hears of everything that hosts are asked.
func (l *lab) before(e enrolltest.Event) error {
	l.mu.Lock()
	l.events = append(l.events, e)
	fault := l.fault
	l.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(e)
}

// breaks lets something go wrong on the hosts from now on; nil heals them.
func (l *lab) breaks(fault func(enrolltest.Event) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// writes are what changed hosts, or tried to, since the last call.
func (l *lab) writes() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.events {
		if changesHost(e) {
			out = append(out, e.Host+" "+e.Kind+" "+e.What)
		}
	}
	l.events = nil
	return out
}

// changesHost tells what changes a host from what looks at it.
func changesHost(e enrolltest.Event) bool {
	return e.Kind == "file" || e.Kind == "script" && e.What == "action" && !strings.Contains(e.Text, "tpm identify")
}

// asked are what the cluster was asked from the n-th command on.
func (l *lab) asked(from int) []string {
	var verbs []string
	for _, c := range l.cluster.Commands()[from:] {
		verbs = append(verbs, c.Verb)
	}
	slices.Sort(verbs)
	return slices.Compact(verbs)
}

// trees are all that the hosts are.
func (l *lab) trees() string {
	var b strings.Builder
	for _, h := range l.Inventory {
		fmt.Fprintf(&b, "== %s\n%s", h.Name, l.host[h.Name].Tree())
	}
	return b.String()
}

// with changes what a host is.
func (l *lab) with(name string, change func(*enrolltest.State)) { l.host[name].With(change) }

// set sets a variable of a host in the inventory; nil takes it away.
func (l *lab) set(name, key string, value any) {
	l.t.Helper()
	i := slices.IndexFunc(l.Inventory, func(h inventory.Host) bool { return h.Name == name })
	if i < 0 {
		l.t.Fatalf("no host %s", name)
	}
	l.Inventory[i].Vars[key] = value
}

// choose narrows the fleet to some hosts, as --limit does.
func (l *lab) choose(names ...string) {
	l.Hosts = slices.DeleteFunc(slices.Clone(l.Inventory), func(h inventory.Host) bool { return !slices.Contains(names, h.Name) })
}

// ask is how TPMs are asked: by the helper, with proof.
func (l *lab) ask() scan.Ask {
	l.t.Helper()
	helpers, err := enrolltest.Helpers()
	if err != nil {
		l.t.Fatal(err)
	}
	return scan.Ask{Helpers: helpers, Proof: true}
}

// scan scans the chosen hosts.
func (l *lab) scan(change ...func(*ScanOptions)) (HostsReport, error) {
	l.t.Helper()
	opts := ScanOptions{Ask: l.ask()}
	for _, f := range change {
		f(&opts)
	}
	return Scan(l.t.Context(), l.Fleet, opts)
}

// tokens makes tokens.
func (l *lab) tokens(opts TokensOptions) (TokensReport, error) {
	l.t.Helper()
	opts.Out = l.out
	return Tokens(l.t.Context(), l.Fleet, opts)
}

// enroll enrolls the chosen hosts.
func (l *lab) enroll(change ...func(*EnrollOptions)) (EnrollReport, error) {
	l.t.Helper()
	return l.enrollIn(l.t.Context(), change...)
}

func (l *lab) enrollIn(ctx context.Context, change ...func(*EnrollOptions)) (EnrollReport, error) {
	l.t.Helper()
	opts := EnrollOptions{Ask: l.ask(), Out: l.out}
	for _, f := range change {
		f(&opts)
	}
	return Enroll(ctx, l.Fleet, opts)
}

// enrolled enrolls the chosen hosts, which has to go well.
func (l *lab) enrolled() {
	l.t.Helper()
	if report, err := l.enroll(); err != nil {
		l.t.Fatalf("%v: %s", err, told(report.Results))
	}
}

// remove takes hosts out; unless somebody is to be asked, it is confirmed.
func (l *lab) remove(opts RemoveOptions) (HostsReport, error) {
	l.t.Helper()
	opts.Out, opts.Yes = l.out, opts.Ask == nil
	return Remove(l.t.Context(), l.Fleet, opts)
}

// record is what the records know of a host.
func (l *lab) record(name string) store.Record {
	l.t.Helper()
	rec, err := l.Store.Record(l.t.Context(), name)
	if err != nil {
		l.t.Fatal(err)
	}
	return rec
}

// runs are the runs of the records, the oldest first: "scan done".
func (l *lab) runs() string {
	l.t.Helper()
	all, err := l.Store.Runs(l.t.Context(), 100)
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, r := range slices.Backward(all) {
		out = append(out, r.Command+" "+r.State)
	}
	return strings.Join(out, ", ")
}

// told are results in a few words: "web-01 ok, web-02 failed duplicate-ek".
func told(results []outcome.Result) string {
	var out []string
	for _, r := range results {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Host, r.Outcome, r.Code)))
	}
	return strings.Join(out, ", ")
}

// check compares results, and the error by what it is; nil wants none.
func (l *lab) check(what string, results []outcome.Result, err error, want string, wantErr error) {
	l.t.Helper()
	if got := told(results); got != want {
		l.t.Errorf("%s: got  %s\nwant %s\n%s", what, got, want, messages(results))
	}
	if wantErr == nil && err != nil || !errors.Is(err, wantErr) {
		l.t.Errorf("%s: error %v, want %v", what, err, wantErr)
	}
}

func messages(results []outcome.Result) string {
	var b strings.Builder
	for _, r := range results {
		if r.Message != "" {
			fmt.Fprintf(&b, "  %s: %s\n", r.Host, r.Message)
		}
	}
	return b.String()
}

// warnings are the codes of what a result warns of.
func warnings(r outcome.Result) (codes []outcome.Code) {
	for _, w := range r.Warnings {
		codes = append(codes, w.Code)
	}
	return codes
}

// listener is a Watcher that remembers what it heard, and fails the test when two speak at once.
type listener struct {
	t      *testing.T
	mu     sync.Mutex
	onHost func(outcome.Result) // told of every result as it comes; may be nil

	stages  []string // "scan 3"
	results []outcome.Result
	notes   []Note
	logs    []string
	doing   []string // "web-01: connecting"
	paces   []work.Pace
}

// turn takes the floor until the function that it returns is called.
func (w *listener) turn() func() {
	if !w.mu.TryLock() {
		w.t.Error("the watcher hears two at once")
		w.mu.Lock()
	}
	for range 10 { // whoever else would speak gets the chance
		runtime.Gosched()
	}
	return w.mu.Unlock
}

func (w *listener) Run(int64) { defer w.turn()() }

func (w *listener) Begin(stage Stage, hosts int) {
	defer w.turn()()
	w.stages = append(w.stages, fmt.Sprintf("%s %d", stage, hosts))
}

func (w *listener) Host(r outcome.Result) {
	defer w.turn()()
	w.results = append(w.results, r)
	if w.onHost != nil {
		w.onHost(r)
	}
}

func (w *listener) End() {
	defer w.turn()()
	w.stages = append(w.stages, "end")
}

func (w *listener) Note(n Note) {
	defer w.turn()()
	w.notes = append(w.notes, n)
}

func (w *listener) At(host string, what work.Doing) {
	defer w.turn()()
	w.doing = append(w.doing, host+": "+string(what))
}

func (w *listener) Pace(p work.Pace) {
	defer w.turn()()
	w.paces = append(w.paces, p)
}

func (w *listener) Logf(format string, args ...any) {
	defer w.turn()()
	w.logs = append(w.logs, fmt.Sprintf(format, args...))
}

// order are the hosts in the order in which the watcher heard of them in the last stage.
func (w *listener) order() string {
	var names []string
	for _, r := range w.results {
		names = append(names, r.Host)
	}
	return strings.Join(names, " ")
}

// forget starts to listen anew.
func (w *listener) forget() { w.stages, w.results, w.notes, w.logs = nil, nil, nil, nil }

// heard are the notes of a kind.
func heard[N Note](l *lab) (out []N) {
	for _, n := range l.heard.notes {
		if n, ok := n.(N); ok {
			out = append(out, n)
		}
	}
	return out
}

// sickStore is a store whose calls fail when fail says so.
type sickStore struct {
	store.Store
	fail func(call string) error
}

func (s sickStore) Put(ctx context.Context, o store.Observation) (store.Verdict, error) {
	if err := s.fail("put " + o.Host); err != nil {
		return store.Verdict{}, err
	}
	return s.Store.Put(ctx, o)
}

func (s sickStore) PutAll(ctx context.Context, all []store.Observation) ([]store.Verdict, error) {
	for _, o := range all {
		if err := s.fail("put " + o.Host); err != nil {
			return nil, err
		}
	}
	return s.Store.PutAll(ctx, all)
}

func (s sickStore) SetInstalled(ctx context.Context, host string, i *store.Installed) error {
	if err := s.fail("installed " + host); err != nil {
		return err
	}
	return s.Store.SetInstalled(ctx, host, i)
}

func (s sickStore) Record(ctx context.Context, host string) (store.Record, error) {
	if err := s.fail("record " + host); err != nil {
		return store.Record{}, err
	}
	return s.Store.Record(ctx, host)
}

func (s sickStore) Runs(ctx context.Context, limit int) ([]store.Run, error) {
	if err := s.fail("runs"); err != nil {
		return nil, err
	}
	return s.Store.Runs(ctx, limit)
}

func (s sickStore) BeginRun(ctx context.Context, command string, hosts int) (int64, error) {
	if err := s.fail("begin " + command); err != nil {
		return 0, err
	}
	return s.Store.BeginRun(ctx, command, hosts)
}

// sick makes the records fail where fail says so.
func (l *lab) sick(fail func(call string) error) { l.Store = sickStore{l.Store, fail} }

var errSick = errors.New("disk I/O error")

// certify gives the TPMs of hosts certificates of an authority that fleet.yaml names; its file has something else in it,
// too.
func (l *lab) certify(names ...string) {
	l.t.Helper()
	ca, err := softtpm.NewCA("TPM maker")
	if err != nil {
		l.t.Fatal(err)
	}
	for _, name := range names {
		if err := ca.Certify(l.host[name].TPM); err != nil {
			l.t.Fatal(err)
		}
	}
	file := filepath.Join(l.t.TempDir(), "cas.pem")
	content := append(ca.PEM(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.Config.Token.EKCertCAs = []string{file}
}

var errNoAccess = errors.New("nobody knows the password")

// refuseAccess is an Access that comes to nothing.
func refuseAccess(context.Context, []inventory.Host) (work.Reach, func(), error) {
	return work.Reach{}, nil, errNoAccess
}

// rekey writes into known_hosts that a host has the key of another one.
func (l *lab) rekey(host, of string) {
	l.t.Helper()
	file := l.ssh.KnownHosts()
	raw, err := os.ReadFile(file)
	if err != nil {
		l.t.Fatal(err)
	}
	addr := func(name string) string {
		i := slices.IndexFunc(l.Inventory, func(h inventory.Host) bool { return h.Name == name })
		return fmt.Sprintf("[%v]:", l.Inventory[i].Vars["ansible_host"])
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	line := func(name string) int {
		return slices.IndexFunc(lines, func(s string) bool { return strings.HasPrefix(s, addr(name)) })
	}
	where, _, _ := strings.Cut(lines[line(host)], " ")
	_, key, _ := strings.Cut(lines[line(of)], " ")
	lines[line(host)] = where + " " + key
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
}
