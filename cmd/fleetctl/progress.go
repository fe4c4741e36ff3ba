package main

import (
	"cmp"
	"os"
	"slices"
	"sync"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"fleetctl/enroll/outcome"
)

// bar shows how far a run is: a progress bar on a terminal, and a line for every host that did not do well.
type bar struct {
	app *app
	mu  sync.Mutex
	bar *progressbar.ProgressBar // nil: no bar

	quiet bool // no lines for hosts that did not do well
}

func (a *app) bar(c *cli.Context, hosts int, what string) *bar {
	b := &bar{app: a}
	if !a.terminal || c.Bool("no-progress") {
		return b
	}
	b.bar = progressbar.NewOptions(hosts,
		progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionEnableColorCodes(os.Getenv("NO_COLOR") == ""),
		progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
	return b
}

// result moves the bar. The host's record is committed by then.
func (b *bar) result(r outcome.Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if troubled(r) && !b.quiet {
		b.clear()
		b.app.trouble(r)
	}
	if b.bar != nil {
		_ = b.bar.Add(1)
	}
}

func (b *bar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}

func (b *bar) finish() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}

// troubled says whether the user should hear of a host at once.
func troubled(r outcome.Result) bool {
	return r.Outcome == outcome.Failed || r.Outcome == outcome.Unreachable ||
		slices.ContainsFunc(r.Warnings, func(w outcome.Warning) bool { return w.Fatal })
}

// trouble says on stderr what is wrong with a host and what to do about it.
func (a *app) trouble(r outcome.Result) {
	if r.Outcome == outcome.Failed || r.Outcome == outcome.Unreachable {
		a.hostLine(r.Host, cmp.Or(string(r.Code), string(r.Outcome))+": "+r.Message, r.Hint)
	}
	for _, w := range r.Warnings {
		if w.Fatal {
			a.hostLine(r.Host, "tbot will not join: "+w.Message, w.Hint)
		}
	}
}

func (a *app) hostLine(host, text, hint string) {
	a.say("%s: %s", host, text)
	if hint != "" {
		a.say("%s: hint: %s", host, hint)
	}
}
