package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/work"
)

// refusedFleet is a scan of n hosts, of which the first bad ones refuse the connection.
func refusedFleet(n, bad int) enroll.HostsReport {
	var r enroll.HostsReport
	for i := range n {
		res := outcome.Result{Host: fmt.Sprintf("web-%03d", i+1), Outcome: outcome.OK, EKHash: fmt.Sprintf("%064x", i)}
		if i < bad {
			address := fmt.Sprintf("unreachable: 10.0.%d.%d:22: connection refused", i/250, i%250)
			res = outcome.End(res.Host, outcome.Unreachable, outcome.ConnectFailed, address)
		}
		r.Results = append(r.Results, res)
	}
	return r
}

// plannedFleet is a dry run over n hosts that are alike.
func plannedFleet(n int) enroll.HostsReport {
	var r enroll.HostsReport
	for i := range n {
		res := outcome.Result{Host: fmt.Sprintf("web-%03d", i+1), Outcome: outcome.Changed}
		for step := range 15 {
			res.Steps = append(res.Steps, outcome.StepResult{Step: fmt.Sprintf("step %d", step), Changed: true, Reason: "of " + res.Host})
		}
		r.Results = append(r.Results, res)
	}
	return r
}

func TestManyHostsFitOnAScreen(t *testing.T) {
	t.Parallel()
	for _, width := range []int{0, 80, 120} {
		for name, show := range map[string]func(*app, *printer, enroll.HostsReport) error{
			"scan": func(a *app, p *printer, r enroll.HostsReport) error { return resultsView{a, p}.Report(r) },
			"check": func(a *app, p *printer, r enroll.HostsReport) error {
				return changesView{app: a, printer: p, steps: true, check: true}.Report(r)
			},
		} {
			report := refusedFleet(300, 200)
			if name == "check" {
				report = plannedFleet(300)
			}
			var out bytes.Buffer // what a person sees of both
			style := screen.Style{Width: width, Color: width > 0}
			a := &app{stdout: &out, stderr: &out, columns: func() int { return width }}
			k := &console{app: a}
			a.watching.Store(k)
			k.Begin(enroll.StageScan, len(report.Results))
			for _, r := range report.Results {
				k.Host(r)
			}
			k.End()
			if err := show(a, &printer{w: &out, format: "table", style: style}, report); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), "\n"); n > 40 || !strings.Contains(out.String(), "web-[001-") {
				t.Errorf("%s at %d columns takes %d lines:\n%s", name, width, n, out.String())
			}
		}
	}
}

func TestEveryFewHostsHaveARow(t *testing.T) {
	t.Parallel()
	var out, wide bytes.Buffer
	a := &app{stdout: &out, stderr: &bytes.Buffer{}}
	if err := (resultsView{a, &printer{w: &out, format: "table"}}).Report(refusedFleet(few, 3)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != few+1 {
		t.Errorf("%d hosts take %d lines", few, n)
	}
	if err := (resultsView{a, &printer{w: &wide, format: "table", wide: true}}).Report(refusedFleet(300, 3)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(wide.String(), "\n"); n != 301 || !strings.Contains(wide.String(), fmt.Sprintf("%064x", 299)) {
		t.Errorf("-o wide of 300 hosts takes %d lines", n)
	}
}

func TestPaceInWords(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]work.Pace{
		"":                                       {Batches: 1, Batch: 1},
		"canary 2 of 2":                          {Canaries: 2, Proven: 1},
		"canary 1 of 1":                          {Canaries: 1, Proven: 1},
		"batch 2 of 5, 1 of 15 failures allowed": {Batch: 2, Batches: 5, Failed: 1, Budget: 15},
	} {
		if got := paceText(p); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}

func TestWhatAnInterruptEnds(t *testing.T) {
	t.Parallel()
	k := &console{app: &app{stderr: &bytes.Buffer{}}, limit: 3 * time.Minute}
	if got := k.stopping(1); got != "" {
		t.Errorf("between two stages: %q", got)
	}
	k.Begin(enroll.StageEnroll, 10)
	k.At("web-01", work.Changing)
	k.At("web-02", work.Looking)
	for changing, want := range map[int]string{
		0: "stopping: 2 hosts asked no further, 8 not begun",
		1: "stopping: 1 host comes to its end (at most 3 min), 8 not begun; Ctrl-C again stops now",
		2: "stopping: 2 hosts come to their end (at most 3 min), 8 not begun; Ctrl-C again stops now",
	} {
		if got := k.stopping(changing); got != want {
			t.Errorf("%d: %q, want %q", changing, got, want)
		}
	}
}
