package main

import (
	"hash/maphash"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
)

// lines writes JSON lines as hosts come to their end (-o jsonl). A host has more than one line where more becomes known of it: the
// last one counts.
type lines struct {
	printer *printer
	seed    maphash.Seed
	told    map[string]uint64 // host → what was said of it last
	err     error             // the first line that could not be written
}

func newLines(p *printer) *lines {
	return &lines{printer: p, seed: maphash.MakeSeed(), told: map[string]uint64{}}
}

// tell writes the line of a host.
func (l *lines) tell(schema, host string, v any) {
	if l.err != nil {
		return
	}
	raw, err := withSchema(schema, v)
	if err == nil {
		_, err = l.printer.w.Write(append(raw, '\n'))
	}
	l.err, l.told[host] = err, maphash.Bytes(l.seed, raw)
}

// untold are the rows that no line was written of as they are now: all of them, but where lines are written at once.
func untold[R any](l *lines, schema string, rows []R, host func(R) string) ([]R, error) {
	if l == nil {
		return rows, nil
	}
	var left []R
	for _, r := range rows {
		raw, err := withSchema(schema, r)
		if err != nil {
			return nil, err
		}
		if told, ok := l.told[host(r)]; !ok || told != maphash.Bytes(l.seed, raw) {
			left = append(left, r)
		}
	}
	return left, l.err
}

// lineWatcher is the enroll.Watcher that writes lines of results, beside another one.
type lineWatcher struct {
	enroll.Watcher
	lines *lines
}

// lined lets hosts have their lines at once, where they shall have any.
func (p *printer) lined(w enroll.Watcher) enroll.Watcher {
	if p.format != "jsonl" {
		return w
	}
	p.lines = newLines(p)
	return lineWatcher{w, p.lines}
}

// Host writes the line of a host.
func (w lineWatcher) Host(r outcome.Result) {
	w.Watcher.Host(r)
	w.tell(r)
}

// Note writes the line of a host that is refused after all.
func (w lineWatcher) Note(n enroll.Note) {
	w.Watcher.Note(n)
	if n, ok := n.(enroll.HostRefused); ok {
		w.tell(n.Result)
	}
}

func (w lineWatcher) tell(r outcome.Result) {
	w.lines.tell(hostsShape.line, r.Host, adviseAll([]outcome.Result{r})[0])
}

// linedStates writes the lines of hosts as soon as it is known how they are, where they shall have any.
func (p *printer) linedStates() func(enroll.HostStatus) {
	if p.format != "jsonl" {
		return nil
	}
	p.lines = newLines(p)
	return func(h enroll.HostStatus) { p.lines.tell(statusShape.line, h.Host, advised(h)) }
}
