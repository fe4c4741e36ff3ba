// Package tbotlog reads what tbot and systemd wrote to the journal: lines become errors, and the newest one says the cause.
package tbotlog

import (
	"regexp"
	"slices"
	"strings"
)

// What tbot's journal looks like (lib/utils/cli.go@0082cf8b, #65258): a line a log record, with time and level. A fatal
// error is "ERROR: " and its message; what it wraps follows, a line each, one more tab to the right each. From 16 on an error
// in a record is a report over dozens of lines: "error:[", "ERROR REPORT:", the original error, a stack, "User Message:" and
// "]". Colours are written whether or not anybody sees them; systemd's journal drops empty lines, and so are they here.

// severity of a record.
type severity int

// Severities, from the least to the most telling.
const (
	silent  severity = iota // information, and below
	unknown                 // not tbot's own form: systemd, or the runtime of a program that crashes
	warning
	failure // an error, or the end
)

// record is one message of the journal, its lines joined by ": ".
type record struct {
	severity severity
	text     string
}

var (
	colour     = regexp.MustCompile(`\x1b?\[[0-9;]{1,8}m`) // the escape character may have been taken out on the way
	recordLine = regexp.MustCompile(`^(?:\d{4}-\d\d-\d\dT\S+ +)?(TRAC|DEBU|INFO|NOTI|WARN|ERRO|FATA|CRIT)[A-Z]*(?: |$)`)
	stackLine  = regexp.MustCompile(`^\s*\S+\.(go|s):\d+ \S+$`)
	reportEnd  = regexp.MustCompile(`\](\s+\S+:\d+)?$`)
)

const (
	fatalPrefix  = "ERROR: "
	reportPrefix = "ERROR REPORT:"
	stackPrefix  = "Stack Trace:"
	userPrefix   = "User Message: "
	usagePrefix  = "usage: tbot "
)

// records joins the lines of a journal. Stacks are left out: their paths hold every word that tbot has.
func records(lines []string) []record {
	var r recordReader
	for _, l := range lines {
		r.line(strings.TrimRight(colour.ReplaceAllString(l, ""), " \t\r\n"))
	}
	return r.out
}

// recordReader is between two lines of a journal.
type recordReader struct {
	out    []record
	report bool // inside of an error report
	stack  bool // inside of its stack
	user   bool // in its last part
	usage  bool // inside of tbot's help, which comes before the error of a wrong flag
}

func (r *recordReader) line(l string) {
	s, first := severityOf(l)
	switch {
	case l == "":
	case first:
		*r = recordReader{out: r.out}
		r.begin(s, l)
	case r.usage:
	case strings.HasPrefix(strings.ToLower(l), usagePrefix):
		r.usage = true
		r.begin(silent, l)
	case strings.HasPrefix(l, reportPrefix):
		if r.report = true; len(r.out) == 0 {
			r.begin(failure, "")
		}
	case strings.HasPrefix(l, userPrefix):
		r.stack, r.user = false, true
		if !r.report { // its beginning is lost
			r.report = true
			r.begin(failure, strings.TrimPrefix(l, userPrefix))
			break
		}
		r.add(strings.TrimPrefix(l, userPrefix))
	case strings.HasPrefix(l, stackPrefix):
		r.stack = r.report
	case r.stack || stackLine.MatchString(l):
		return
	case r.report || len(r.out) > 0 && (l[0] == ' ' || l[0] == '\t'):
		r.add(l)
	default:
		r.begin(unknown, l)
	}
	switch {
	case strings.HasSuffix(l, "error:["):
		r.report = true
	case r.user && reportEnd.MatchString(l):
		r.report, r.user = false, false
	}
}

func (r *recordReader) begin(s severity, l string) {
	r.out = append(r.out, record{s, strings.TrimSpace(strings.TrimPrefix(l, fatalPrefix))})
}

func (r *recordReader) add(l string) {
	last := &r.out[len(r.out)-1]
	last.text = strings.TrimPrefix(strings.TrimSuffix(last.text, ":")+": "+strings.TrimSpace(l), ": ")
}

// severityOf says how a line begins a record; false where it begins none of tbot's own.
func severityOf(l string) (severity, bool) {
	if strings.HasPrefix(l, fatalPrefix) || l == strings.TrimSpace(fatalPrefix) {
		return failure, true
	}
	m := recordLine.FindStringSubmatch(l)
	if m == nil || strings.HasPrefix(l, reportPrefix) {
		return unknown, false
	}
	switch m[1] {
	case "WARN":
		return warning, true
	case "ERRO", "FATA", "CRIT":
		return failure, true
	}
	return silent, true
}

// MaxShown is how many lines of the journal a result shows.
const MaxShown = 20

// Shown are the last lines of a journal for people: without colours, stacks and what frames them.
func Shown(lines []string) []string {
	var out []string
	for _, l := range lines {
		l = strings.TrimRight(colour.ReplaceAllString(l, ""), " \t\r\n")
		if l != "" && l != reportPrefix && !strings.HasPrefix(l, stackPrefix) && !stackLine.MatchString(l) {
			out = append(out, l)
		}
	}
	return slices.Clone(out[max(0, len(out)-MaxShown):])
}

// CauseIn finds why tbot failed: what its newest error says; where no error says anything known, the newest warning, and
// then whatever else is there. nil for nothing known.
func CauseIn(lines []string) *Cause {
	all := records(lines)
	for _, last := range []bool{false, true} {
		for _, s := range []severity{failure, warning, unknown} {
			if c := newestCause(all, s, last); c != nil {
				return c
			}
		}
	}
	return nil
}

func newestCause(all []record, s severity, last bool) *Cause {
	for _, r := range slices.Backward(all) {
		if r.severity != s {
			continue
		}
		if c := causeOf(r, last); c != nil {
			return c
		}
	}
	return nil
}
