package life

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/inventory"
)

// world is all that there is in a history.
type world struct {
	tb       testing.TB
	dir      string
	turns    *turns
	clusters []*memcluster.Cluster // the first is the fleet's
	machines []*machine
	names    []*name       // of all inventories
	ctls     []*controller // the first is the one that everybody uses
	boards   int           // made so far
	ahead    time.Duration // how far the world's clock is before that of the controllers

	out      map[string]string // EKs that no token may admit → by what
	waiting  map[string]string // likewise, once tokens were applied
	unheard  map[string]string // EKs of out that a controller let in again which could not know of it, until one that does has run
	excused  map[string]string // EKs that a person took a rule from
	theirs   map[string]string // tokens of somebody else, as he made them
	applied  map[string]bool   // files that the pipeline applied last
	archive  []string          // documents of tokens that once stood in out/
	outsider bool              // somebody else changed the cluster, and no run has come to its end since
	astray   bool              // the next command asks the wrong cluster
	acted    bool              // somebody else changed the cluster since the command began
	forgot   bool              // records were lost, or older ones brought back
	racing   bool              // two publishers are at work
	bad      string            // the first invariant that was broken
	trace    []string
	casFiles []string
}

// name is a name in the inventories.
type name struct {
	name string
	m    *machine
	vars map[string]any
}

// controller is a directory with fleet.yaml, records and out/, somewhere.
type controller struct {
	id       int
	db       string
	out      string
	config   config.Config
	absent   map[string]bool // names that its inventory lacks
	copies   []string        // of its records
	exported []byte          // its records as text
	plan     []byte          // what a person has looked at, and may apply
}

// tb hears of what the stand-ins do not know.
type tb struct {
	testing.TB
	w *world
}

func (t tb) Errorf(format string, args ...any) { t.w.broken("MODEL: "+format, args...) }
func (t tb) Fatalf(format string, args ...any) { t.w.broken("MODEL: "+format, args...) }
func (t tb) Fatal(args ...any)                 { t.w.broken("MODEL: %s", fmt.Sprint(args...)) }
func (t tb) Helper()                           {}

// broken notes the first thing that went wrong.
func (w *world) broken(format string, args ...any) {
	if w.bad == "" {
		w.bad = fmt.Sprintf(format, args...)
		w.say("!! %s", w.bad)
	}
}

// writeIDs are random: traces are without them.
var writeIDs = regexp.MustCompile(`\b[0-9a-f]{16}\b`)

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, writeIDs.ReplaceAllString(strings.ReplaceAll(fmt.Sprintf(format, args...), w.dir, ""), "(write)"))
}

// now is the time of the cluster and the hosts.
func (w *world) now() time.Time { return time.Now().Add(w.ahead) }

// newWorld has seven machines of two manufacturers, a cluster without anything, and a controller that nobody has used.
func newWorld(t testing.TB, dir string, lowClock bool) *world {
	w := &world{
		dir: dir, turns: newTurns(), out: map[string]string{}, waiting: map[string]string{}, excused: map[string]string{},
		theirs: map[string]string{}, unheard: map[string]string{},
	}
	w.tb = tb{t, w}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if lowClock {
		w.ahead = time.Until(start)
	} else {
		time.Sleep(time.Until(start))
	}
	for i := range 2 {
		c := memcluster.NewCluster(w.tb, release)
		c.Name, c.Now = fmt.Sprintf("c%d.example.com", i), w.now
		w.clusters = append(w.clusters, c)
	}
	for i, of := range []int{0, -1, 0, 1, -1, 0, 1} {
		w.addName(fmt.Sprintf("h%d", i), w.newMachine(w.newBoard(of)))
	}
	for i, m := range makers() {
		file := filepath.Join(dir, fmt.Sprintf("cas-%d.pem", i))
		if err := os.WriteFile(file, m.pem, 0o600); err != nil {
			t.Fatal(err)
		}
		w.casFiles = append(w.casFiles, file)
	}
	w.newController(nil)
	return w
}

func (w *world) newBoard(of int) *board {
	w.boards++
	return newBoard(w.boards, of)
}

func (w *world) addName(s string, m *machine) *name {
	n := &name{name: s, m: m, vars: map[string]any{}}
	w.names = append(w.names, n)
	return n
}

// newController has the configuration of another one, and neither records nor files; without one it is the first.
func (w *world) newController(like *controller) *controller {
	c := &controller{id: len(w.ctls), absent: map[string]bool{}}
	dir := filepath.Join(w.dir, fmt.Sprintf("ctl%d", c.id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.tb.Fatal(err)
	}
	c.db, c.out = filepath.Join(dir, "fleet.db"), filepath.Join(dir, "out")
	if like != nil {
		c.config, c.absent = like.config, maps.Clone(like.absent)
	} else {
		c.config = enrolltest.Config()
		c.config.Token.Name, c.config.Token.MaxRules = "fleet", 4
		c.config.Rollout.Canary, c.config.Rollout.MaxFailures = 1, "100%"
	}
	w.ctls = append(w.ctls, c)
	return c
}

// inventory is what a controller's inventory says.
func (w *world) inventory(c *controller) []inventory.Host {
	var hosts []inventory.Host
	for _, n := range w.names {
		if !c.absent[n.name] {
			hosts = append(hosts, inventory.Host{Name: n.name, Vars: maps.Clone(n.vars)})
		}
	}
	return hosts
}

// find is the newest machine of a name.
func (w *world) find(s string) *name {
	i := slices.IndexFunc(w.names, func(n *name) bool { return n.name == s })
	if i < 0 {
		return nil
	}
	return w.names[i]
}

// rulesOf are the tokens of the cluster with a rule for an EK.
func (w *world) rulesOf(ek string) (tokens []string) {
	for _, t := range w.clusters[0].Tokens() {
		if slices.Contains(w.clusters[0].Rules(t), ek) {
			tokens = append(tokens, t)
		}
	}
	return tokens
}

// allRules are the tokens of every machine.
func (w *world) allRules() map[string][]string {
	all := map[string][]string{}
	for _, t := range w.clusters[0].Tokens() {
		for _, ek := range w.clusters[0].Rules(t) {
			if !slices.Contains(all[ek], t) {
				all[ek] = append(all[ek], t)
			}
		}
	}
	return all
}

// whose says which machines have an EK now, for people.
func (w *world) whose(ek string) string {
	var of []string
	for _, m := range w.machines {
		if m.board.ek == ek {
			of = append(of, m.String())
		}
	}
	for _, n := range w.names {
		if n.m.board.ek == ek {
			of = append(of, n.name)
		}
	}
	return fmt.Sprintf("%s… (%s)", ek[:8], strings.Join(of, " "))
}
