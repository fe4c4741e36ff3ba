package main

import (
	"hash/maphash"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
)

// lines is the enroll.Watcher that writes JSON lines as hosts come to their end (-o jsonl), beside another one. A host has more
// than one line where more becomes known of it: the last one counts.
type lines struct {
	enroll.Watcher
	printer *printer
	seed    maphash.Seed
	told    map[string]uint64 // host → what was said of it last
	err     error             // the first line that could not be written
}

// lined lets hosts have their lines at once, where they shall have any.
func (p *printer) lined(w enroll.Watcher) enroll.Watcher {
	if p.format != "jsonl" {
		return w
	}
	p.lines = &lines{Watcher: w, printer: p, seed: maphash.MakeSeed(), told: map[string]uint64{}}
	return p.lines
}

// Host writes the line of a host.
func (l *lines) Host(r outcome.Result) {
	l.Watcher.Host(r)
	l.tell(r)
}

// Note writes the line of a host that is refused after all.
func (l *lines) Note(n enroll.Note) {
	l.Watcher.Note(n)
	if n, ok := n.(enroll.HostRefused); ok {
		l.tell(n.Result)
	}
}

func (l *lines) tell(r outcome.Result) {
	if l.err != nil {
		return
	}
	raw, err := withSchema(hostsShape.line, adviseAll([]outcome.Result{r})[0])
	if err == nil {
		_, err = l.printer.w.Write(append(raw, '\n'))
	}
	l.err, l.told[r.Host] = err, maphash.Bytes(l.seed, raw)
}

// untold are the results that no line was written of as they are now: all of them, but where lines are written at once.
func (p *printer) untold(results []outcome.Result) ([]outcome.Result, error) {
	if p.lines == nil {
		return results, nil
	}
	var left []outcome.Result
	for _, r := range results {
		raw, err := withSchema(hostsShape.line, r)
		if err != nil {
			return nil, err
		}
		if told, ok := p.lines.told[r.Host]; !ok || told != maphash.Bytes(p.lines.seed, raw) {
			left = append(left, r)
		}
	}
	return left, p.lines.err
}
