package main

import (
	"os"
	"sync"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
)

// bar shows how far a run is: a progress bar on a terminal, and a line for every host that did not do well.
type bar struct {
	app *app
	mu  sync.Mutex
	bar *progressbar.ProgressBar // nil: no bar
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
func (b *bar) result(r enroll.Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r.Outcome {
	case enroll.Failed, enroll.Unreachable:
		b.clear()
		b.app.say("%s: %s: %s", r.Host, firstWord(r.Status, string(r.Outcome)), r.Message)
		if r.Hint != "" {
			b.app.say("%s: hint: %s", r.Host, r.Hint)
		}
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

func firstWord(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
