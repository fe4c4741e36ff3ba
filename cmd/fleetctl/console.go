package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/work"
)

// console tells a person on stderr how a use case gets on: a line on a terminal that says how far it is, or a line now and then
// where there is none; the first host of each kind of trouble, and how many more there are; and a line for everything else
// that happens. It is the enroll.Watcher of the command line.
type console struct {
	app      *app
	progress bool // say how far it is
	verbose  bool
	quiet    bool          // say only what is not as it should be
	limit    time.Duration // for a host; 0: none

	mu       sync.Mutex
	untold   bool // no lines for hosts that did not do well: the results say it all
	run      *screen.Progress
	bar      bar
	drawn    time.Time     // when the line was drawn last
	stop     chan struct{} // ends the ticking
	ticked   sync.WaitGroup
	troubles screen.Groups[kind, trouble]
}

// kind is a kind of trouble: a status, and whether it is a warning's.
type kind struct {
	code outcome.Code
	of   string
}

// trouble is what is said of a host that is not well.
type trouble struct{ host, text, hint string }

// fewShapes is how many kinds of messages with one status are told apart.
const fewShapes = 3

// How often it is said how far a run is.
const (
	onTerminal = time.Second
	elsewhere  = 10 * time.Second
	restless   = 100 * time.Millisecond // no line is drawn anew sooner
)

func (a *app) console(c *cli.Context) *console {
	k := &console{
		app: a, progress: !c.Bool("no-progress") && !c.Bool("quiet"), verbose: c.Bool("verbose"), quiet: c.Bool("quiet"),
		limit: c.Duration("timeout"),
	}
	a.watching.Store(k)
	return k
}

// Run is not said: a person has one run before them.
func (k *console) Run(int64) {}

// Begin begins to say how far a stage is.
func (k *console) Begin(stage enroll.Stage, hosts int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.untold = stage == enroll.StageStatus
	k.run = screen.NewProgress(string(stage), hosts, time.Now())
	if !k.progress {
		return
	}
	every := elsewhere
	if k.app.line != nil {
		every = onTerminal
		k.bar = newBar(k.app.saying.ASCII)
		k.draw()
	}
	stop := make(chan struct{})
	k.stop = stop // End takes it away, perhaps before the other has begun to look at it
	k.ticked.Go(func() { k.tick(every, stop) })
}

// tick says how far it is, again and again.
func (k *console) tick(every time.Duration, stop <-chan struct{}) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			k.tell()
		}
	}
}

// tell says how far it is.
func (k *console) tell() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.run == nil {
		return
	}
	if k.app.line != nil {
		k.draw()
		return
	}
	k.app.say("%s", k.run.Text(time.Now(), 0))
}

// draw draws the last line of the terminal anew.
func (k *console) draw() {
	width := k.app.columns() - 1 // a full line would wrap
	bar := k.bar.at(k.run.Fraction())
	if width < 100 { // the words say more
		bar = ""
	}
	k.drawn = time.Now()
	k.app.line.Show(k.app.saying.Say(bar + k.run.Text(time.Now(), width-screen.Width(bar))))
}

// moved draws the line anew where there is one, though not for each of many hosts that end at once.
func (k *console) moved() {
	if k.stop != nil && k.app.line != nil && time.Since(k.drawn) > restless {
		k.draw()
	}
}

// At notes what is done about a host.
func (k *console) At(host string, what work.Doing) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.run != nil {
		k.run.At(host, string(what), time.Now())
	}
}

// Pace notes how far a rollout is.
func (k *console) Pace(p work.Pace) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.run != nil {
		k.run.Stage(paceText(p))
		k.moved()
	}
}

func paceText(p work.Pace) string {
	switch {
	case p.Canaries > 0:
		return fmt.Sprintf("canary %d of %d", min(p.Proven+1, p.Canaries), p.Canaries)
	case p.Batches > 1:
		return fmt.Sprintf("batch %d of %d, %d of %d failures allowed", max(1, p.Batch), p.Batches, p.Failed, p.Budget)
	}
	return ""
}

// Host notes that a host is through.
func (k *console) Host(r outcome.Result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.run != nil { // an import has no stage
		k.run.Done(r.Host, r.Bad(), time.Now())
	}
	if !k.untold {
		k.trouble(r)
	}
	k.moved()
}

// End ends what says how far a stage is.
func (k *console) End() {
	k.mu.Lock()
	stop := k.stop
	k.stop, k.run = nil, nil
	k.mu.Unlock()
	if stop != nil {
		close(stop)
		k.ticked.Wait()
	}
	if k.app.line != nil {
		k.app.line.Show("")
	}
	k.rest()
}

// Logf says what -v asks for.
func (k *console) Logf(format string, args ...any) {
	if k.verbose {
		k.app.say(format, args...)
	}
}

// trouble says what is wrong with a host and what to do about it, unless the same was said of another one.
func (k *console) trouble(r outcome.Result) {
	if r.Bad() {
		code := cmp.Or(string(r.Code), string(r.Outcome))
		k.first(kind{outcome.Code(code), ""}, r.Message, trouble{r.Host, code + ": " + r.Message, advise(r.Host, r.Reason).Hint})
	}
	for _, w := range r.Warnings {
		if w.Fatal {
			const of = "tbot will not join"
			k.first(kind{w.Code, of}, w.Message, trouble{r.Host, of + ": " + w.Message, advise(r.Host, w.Reason).Hint})
		}
	}
}

// refused is trouble of a host that had been through.
func (k *console) refused(r outcome.Result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.trouble(r)
}

// warned says what somebody should know of a host.
func (k *console) warned(host string, r outcome.Reason) {
	k.mu.Lock()
	defer k.mu.Unlock()
	const of = "warning"
	k.first(kind{r.Code, of}, r.Message, trouble{host, fmt.Sprintf("%s: %s: %s", of, r.Code, r.Message), advise(host, r).Hint})
}

// first says what the first host of a kind has.
func (k *console) first(of kind, message string, t trouble) {
	k.troubles.Most = fewShapes
	if k.troubles.Add(of, t.host, message, t) {
		k.host(t.host, t.text, t.hint)
	}
}

// rest says what is left to say of hosts.
func (a *app) rest() {
	if k := a.watching.Load(); k != nil {
		k.rest()
	}
}

// rest says how many more hosts there are of what was said of a first one.
func (k *console) rest() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, g := range k.troubles.All() {
		if more := g.Hosts[1:]; len(more) > 0 {
			slices.Sort(more) // they ended in any order
			like := "like " + g.First.host
			if g.Other {
				like = "in other words"
			}
			k.app.say("%s: %d more %s: %s", g.Key.what(), len(more), like, screen.Folded(more, fewNames))
		}
	}
	k.troubles = screen.Groups[kind, trouble]{}
}

// what names a kind in a line.
func (o kind) what() string {
	if o.of == "" {
		return string(o.code)
	}
	return o.of + ": " + string(o.code)
}

// fewNames is how many names, or ranges of names, a line has.
const fewNames = 10

func (k *console) host(name, text, hint string) {
	k.app.say("%s: %s", name, text)
	if hint != "" {
		k.app.say("%s: hint: %s", name, hint)
	}
}

// stopping says what comes to its end when somebody stops a run, of which changing hosts are being changed; "" between stages.
func (k *console) stopping(changing int) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.run == nil || k.run.Running() == 0 {
		return ""
	}
	left := fmt.Sprintf("%d not begun", k.run.Left())
	if changing == 0 {
		return fmt.Sprintf("stopping: %s asked no further, %s", screen.Count(k.run.Running()), left)
	}
	limit := ""
	if k.limit > 0 {
		limit = " (at most " + screen.Rough(k.limit) + ")"
	}
	come := "come to their end"
	if changing == 1 {
		come = "comes to its end"
	}
	return fmt.Sprintf("stopping: %s %s%s, %s; Ctrl-C again stops now", screen.Count(changing), come, limit, left)
}
