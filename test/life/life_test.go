package life

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// histories is how many make test runs.
const histories = 200

// shards run at once, each with histories of its own.
const shards = 4

var (
	flagHistories = flag.Int("life.histories", histories, "how many histories are run")
	flagReplay    = flag.String("life.replay", "", "run this history alone, as a failure prints it (JSON)")
	flagVerbose   = flag.Bool("life.verbose", false, "with -life.replay: show all that happened, also when nothing is wrong")
	flagOnly      = flag.String("life.only", "", "what is broken counts only when it begins with this (LOCKED OUT, …)")
	flagWithout   = flag.String("life.without", "", "kinds of things that don't happen, with commas")
	flagLength    = flag.Int("life.length", 18, "how many things happen in a history, on the average")
)

// history is all that happens to a fleet.
type history struct {
	LowClock bool `json:",omitempty"` // the controller's clock begins in the year 2000
	Ops      []op
}

func (h history) String() string {
	raw, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400) // histories are short, and their garbage small
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{
		"rapid.checks": fmt.Sprint(max(1, *flagHistories/shards)), "rapid.seed": "12", "rapid.nofailfile": "true", "rapid.shrinktime": "20s",
	} {
		if !given[name] {
			_ = flag.Set(name, value)
		}
	}
	os.Exit(m.Run())
}

// weighted are the kinds of ops, each as often as it shall come. Those that say most come first: rapid draws these more
// often, and makes others of them when it shrinks a history.
var weighted = sync.OnceValue(func() []string {
	left := maps.Clone(kinds)
	order := slices.Sorted(maps.Keys(left))
	slices.SortStableFunc(order, func(a, b string) int { return left[b] - left[a] })
	var out []string
	for len(left) > 0 {
		for _, k := range order {
			if left[k] > 0 {
				out = append(out, k)
				left[k]--
			} else {
				delete(left, k)
			}
		}
	}
	return out
})

// drawOp draws one thing that happens.
func drawOp(t *rapid.T) op {
	o := op{
		Kind: rapid.SampledFrom(weighted()).Draw(t, "kind"),
		A:    rapid.IntRange(0, 11).Draw(t, "a"), B: rapid.IntRange(0, 11).Draw(t, "b"), Ctl: rapid.IntRange(0, 5).Draw(t, "ctl"),
	}
	if o.Ctl -= 3; o.Ctl < 0 {
		o.Ctl = 0
	}
	if slices.Contains(commands, o.Kind) && rapid.IntRange(0, 2).Draw(t, "faulty") == 2 {
		o.Fault.Where = rapid.SampledFrom([]string{"store", "tctl", "host"}).Draw(t, "where")
		o.Fault.What = rapid.SampledFrom(faults[o.Fault.Where]).Draw(t, "what")
		o.Fault.N = rapid.IntRange(1, 40).Draw(t, "n")
		o.Fault.How = rapid.IntRange(0, 20).Draw(t, "how")
	}
	return o
}

// drawHistory draws what happens: an enroll, and as many things after it as a flag says on the average.
func drawHistory(t *rapid.T) history {
	h := history{LowClock: rapid.IntRange(0, 9).Draw(t, "clock") == 9, Ops: []op{{Kind: "enroll"}}}
	const part = 3 // rapid draws short lists more often: so several of them
	for range (*flagLength - 1) / part {
		h.Ops = append(h.Ops, rapid.SliceOfN(rapid.Custom(drawOp), 0, 2*part).Draw(t, "ops")...)
	}
	return h
}

// live runs a history, and returns what was wrong and all that happened.
func live(t *testing.T, h history) (bad string, trace []string) {
	dir, err := os.MkdirTemp(fastDir(), "life-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, h.LowClock)
		defer func() {
			if p := recover(); p != nil {
				w.broken("PANIC: %v", p)
			}
			bad, trace = w.bad, w.trace
		}()
		for _, o := range h.Ops {
			if w.do(o); w.bad != "" {
				return
			}
		}
		w.settle()
	})
	return bad, trace
}

// fastDir is a directory in memory, where there is one.
func fastDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func TestLife(t *testing.T) {
	if *flagReplay != "" {
		replay(t)
		return
	}
	for shard := range shards {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				for range shard { // other numbers than the other shards
					rapid.Uint64().Draw(rt, "skipped")
				}
				h := drawHistory(rt)
				if bad, trace := live(t, h); bad != "" && strings.HasPrefix(bad, *flagOnly) {
					rt.Fatalf("%s\n  %s\nreplay: go test ./life -run TestLife -life.replay='%s'", bad, strings.Join(trace, "\n  "), h)
				}
			})
		})
	}
}

// replay runs one history.
func replay(t *testing.T) {
	text := []byte(*flagReplay)
	if raw, err := os.ReadFile(filepath.Clean(*flagReplay)); err == nil {
		text = raw
	}
	var h history
	if err := json.Unmarshal(text, &h); err != nil {
		t.Fatal(err)
	}
	bad, trace := live(t, h)
	if bad != "" || *flagVerbose {
		t.Log(strings.Join(trace, "\n  "))
	}
	if bad != "" {
		t.Fatal(bad)
	}
}

// TestWhatWasFoundStaysMended lives the histories again that surveys found.
func TestWhatWasFoundStaysMended(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/found/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d histories, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var h history
		if err := json.Unmarshal(raw, &h); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if bad, trace := live(t, h); bad != "" {
			t.Errorf("%s: %s\n  %s", file, bad, strings.Join(trace, "\n  "))
		}
	}
}

func TestAHistoryIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	gen := rapid.Custom(drawHistory)
	for i := range 12 {
		h := gen.Example(1000 + i)
		bad, first := live(t, h)
		again, second := live(t, h)
		if bad != again || !slices.Equal(first, second) {
			t.Errorf("%s\n  %q\n  %q\n%s\n--- and\n%s", h, bad, again, strings.Join(first, "\n"), strings.Join(second, "\n"))
		}
	}
}

var (
	flagSurvey = flag.Bool("life.survey", false, "count what goes wrong instead of ending at the first of it")
	flagFrom   = flag.Int("life.from", 0, "the number of the first history of a survey")
)

// TestSurvey counts in how many histories what goes wrong first.
func TestSurvey(t *testing.T) {
	if !*flagSurvey {
		t.Skip("only with -life.survey")
	}
	found, example := map[string]int{}, map[string]string{}
	gen := rapid.Custom(drawHistory)
	for i := range *flagHistories {
		if i > 0 && i%200 == 0 {
			t.Logf("%d histories", i)
		}
		h := gen.Example(*flagFrom + i)
		bad, _ := live(t, h)
		class, _, _ := strings.Cut(bad, ":")
		if bad != "" {
			t.Logf("%s\t%s", class, h)
		}
		found[class]++
		if old := example[class]; bad != "" && (old == "" || len(old) > len(h.String())) {
			example[class] = bad + "\n    " + h.String()
		}
	}
	for _, class := range slices.Sorted(maps.Keys(found)) {
		t.Logf("%4d of %d: %s %s", found[class], *flagHistories, class, example[class])
	}
}
