package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"fleetctl/cmd/fleetctl/page"
	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/report"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/enroll/tpm"
	"fleetctl/remote"
)

// forged are a host's words that would be a row, or a line, of ours.
const forged = "x\nweb-02  ok\t healthy\r\nfleetctl: web-02: ok\v\f\u0085web-02\u2028web-02\x1b[2J\u202eko\u3164\u034f\ufe0f\U000e0041\u200b\u00ad"

// fill puts words into every string that somebody else may have written: those of a named type are ours.
func fill(v reflect.Value, words string) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			v.SetString(words)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), words)
			}
		}
	case reflect.Slice:
		all := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(all, v)
		for i := range all.Len() {
			fill(all.Index(i), words)
		}
		if v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(all)
		}
	case reflect.Map:
		all := reflect.MakeMap(v.Type())
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			fill(value, words)
			all.SetMapIndex(key, value)
		}
		v.Set(all)
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		copied := reflect.New(v.Type().Elem())
		copied.Elem().Set(v.Elem())
		fill(copied.Elem(), words)
		v.Set(copied)
	case reflect.Interface:
		if v.Type() == reflect.TypeFor[error]() && !v.IsNil() {
			v.Set(reflect.ValueOf(errors.New(words)))
		}
	}
}

// checkForged says what is wrong with lines that have a host's words in them.
func checkForged(t *testing.T, where, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "web-02") || strings.HasPrefix(line, "fleetctl: web-02") {
			t.Errorf("%s: a forged line: %q", where, line)
		}
		if remote.Escape(line) != line {
			t.Errorf("%s: %q has what nobody sees", where, line)
		}
	}
}

func TestNoNoteForgesALine(t *testing.T) {
	t.Parallel()
	for _, n := range everyNote {
		note := reflect.New(reflect.TypeOf(n.note)).Elem()
		note.Set(reflect.ValueOf(n.note))
		fill(note, forged)
		var stderr bytes.Buffer
		(&console{app: &app{stderr: &stderr}}).Note(note.Interface().(enroll.Note))
		checkForged(t, note.Type().Name(), stderr.String())
		for line := range strings.Lines(stderr.String()) {
			if !strings.HasPrefix(line, "fleetctl: ") {
				t.Errorf("%s: %q has no prefix", note.Type().Name(), line)
			}
		}
	}
}

func TestNoHostForgesARow(t *testing.T) {
	t.Parallel()
	result := outcome.Result{
		Host: "web-01", Outcome: outcome.Failed, Reason: outcome.Reason{Code: "error", Message: forged, Hint: forged}, EKHash: forged, Serial: forged,
		Warnings: []outcome.Warning{{Reason: outcome.Reason{Code: "hook", Message: forged, Hint: forged}, Fatal: true}},
		Steps:    []outcome.StepResult{{Step: forged, Changed: true, Reason: forged, Diff: "+a\n-\u202e\u3164b\n"}}, Log: []string{forged, forged},
	}
	results := enroll.HostsReport{Results: []outcome.Result{result}}
	joined := time.Unix(0, 0)
	status := enroll.StatusReport{
		Hosts:   []enroll.HostStatus{{Host: "web-01", State: "healthy", Tbot: forged, Token: forged, Service: forged, Joined: &joined, Drift: []string{forged}}},
		Strange: make([]enroll.StrangeJoin, 1), Rules: make([]enroll.OpenRule, 1),
	}
	fill(reflect.ValueOf(&status.Strange).Elem(), forged)
	fill(reflect.ValueOf(&status.Rules).Elem(), forged)
	status.Rules[0].Orphan = true
	diff := token.Diff{Bots: make([]token.BotChange, 1), Tokens: []token.Change{{
		Fields: make([]token.FieldChange, 1), Added: make([]string, 1), Removed: make([]string, 1), Changed: make([]token.RuleChange, 1),
		Pruned: make([]token.ForeignRule, 1), Foreign: make([]token.ForeignRule, 1),
	}}}
	fill(reflect.ValueOf(&diff).Elem(), forged)
	diff.Bots[0].Action, diff.Tokens[0].Action = token.ActionUpdate, token.ActionUpdate
	view := records.View{}
	fill(reflect.ValueOf(&view).Elem(), forged)
	for name, show := range map[string]func(*app, *printer) error{
		"results": func(a *app, p *printer) error { return resultsView{a, p}.Report(results) },
		"changes": func(a *app, p *printer) error { return changesView{app: a, printer: p, steps: true}.Report(results) },
		"status":  func(a *app, p *printer) error { return statusView{a, p}.Report(status) },
		"tokens":  func(_ *app, p *printer) error { return p.tokenDiff(diff) },
		"records": func(_ *app, p *printer) error {
			return write(p, recordsShape, nothing{}, recordHeader, []records.View{view}, recordCells)
		},
		"trouble":  func(a *app, _ *printer) error { (&console{app: a}).trouble(result); return nil },
		"an error": func(a *app, _ *printer) error { a.exit(t.Context(), errors.New(forged)); return nil },
		"joined errors": func(a *app, _ *printer) error {
			a.exit(t.Context(), errors.Join(errors.New(forged), errors.New(forged)))
			return nil
		},
	} {
		for _, format := range []string{"table", "csv"} {
			var stdout, stderr bytes.Buffer
			a := &app{stdout: &stdout, stderr: &stderr}
			if err := show(a, &printer{w: &stdout, format: format}); err != nil {
				t.Error(err)
			}
			checkForged(t, name+" "+format, stdout.String()+stderr.String())
			rows, err := csv.NewReader(&stdout).ReadAll()
			if format == "csv" && name != "tokens" && (err != nil || len(rows) > 2) {
				t.Errorf("%s: %d rows (%v)", name, len(rows), err)
			}
		}
	}
}

// Of many hosts what is not well stands in blocks, whose titles have words of hosts, too.
func TestNoHostForgesABlock(t *testing.T) {
	t.Parallel()
	var results enroll.HostsReport
	var status enroll.StatusReport
	for i := range few + 5 {
		name := fmt.Sprintf("db-%02d", i)
		results.Results = append(results.Results, outcome.Result{
			Host: name, Outcome: outcome.Failed, Reason: outcome.Reason{Code: "error", Message: forged, Hint: forged},
			Warnings: []outcome.Warning{{Reason: outcome.Reason{Code: "hook", Message: forged, Hint: forged}}},
			Steps:    []outcome.StepResult{{Step: forged, Changed: true, Reason: forged, Diff: forged}}, Log: []string{forged},
		})
		status.Hosts = append(status.Hosts, enroll.HostStatus{Host: name, State: outcome.StateDrifted, Drift: []string{forged}})
	}
	for name, show := range map[string]func(*app, *printer) error{
		"results": func(a *app, p *printer) error { return resultsView{a, p}.Report(results) },
		"changes": func(a *app, p *printer) error {
			return changesView{app: a, printer: p, steps: true, check: true}.Report(results)
		},
		"status": func(a *app, p *printer) error { return statusView{a, p}.Report(status) },
	} {
		var out bytes.Buffer
		a := &app{stdout: &out, stderr: &out}
		if err := show(a, &printer{w: &out, format: "table"}); err != nil {
			t.Error(err)
		}
		checkForged(t, name, out.String())
	}
}

func TestNoHostForgesThePage(t *testing.T) {
	t.Parallel()
	host := report.Host{Concerns: []outcome.Code{forged}}
	host.State, host.SharedBy, host.TPM = forged, make([]string, 1), &tpm.Details{Findings: make([]tpm.Finding, 1)}
	fill(reflect.ValueOf(&host).Elem(), forged)
	entry := store.Entry{}
	fill(reflect.ValueOf(&entry).Elem(), forged)
	r := report.Report{
		Bots: make([]string, 1), Concerns: []report.Concern{{Examples: make([]string, 1)}}, Runs: make([]report.Run, 1),
		Tokens: make([]report.TokenCount, 1), States: make([]report.Count, 1), Vendors: make([]report.Count, 1), Firmware: make([]report.Count, 1),
		Issuers: make([]records.Issuer, 1), Growth: make([]report.Point, 1),
		Joins: report.Months{Months: make([]report.Month, 1)}, Expiry: report.Months{Months: make([]report.Month, 1)},
	}
	fill(reflect.ValueOf(&r).Elem(), forged)
	r.Concerns[0].Code, r.Concerns[0].Severity = forged, forged
	r.Hosts = func(yield func(report.Host, error) bool) { yield(host, nil) }
	r.Log = func(yield func(store.Entry, error) bool) { yield(entry, nil) }
	var out bytes.Buffer
	if err := page.Write(&out, r); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "web-02"); n < 100 {
		t.Errorf("the forged words are in the page %d times: most are gone", n)
	}
	for _, r := range out.String() {
		if r != '\n' && (unicode.IsControl(r) || remote.Escape(string(r)) != string(r) && !unicode.In(r, unicode.M)) {
			t.Errorf("U+%04X is in the page", r)
		}
	}
}
