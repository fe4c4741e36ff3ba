package main

import (
	"io"
	"slices"
	"strings"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll/outcome"
)

// tableRows collects rows and writes them as a table. Without wide, hashes are as long as they have to be to differ.
func (p *printer) tableRows(w io.Writer, header []string) rowWriter {
	t := screen.Table{Style: p.style, Tint: tint, Spare: spareColumns, Dear: hashColumns}
	if p.wide {
		t.Width = 0
	}
	rows := [][]string{header}
	return rowWriter{
		row: func(_ any, cells []string) error {
			rows = append(rows, short(escaped(cells)))
			return nil
		},
		end: func() error {
			if !p.wide {
				shortenHashes(rows)
			}
			for _, r := range rows {
				t.Add(r)
			}
			return t.Write(w)
		},
	}
}

// spareColumns are those that a narrow terminal does without: "-o wide" has all.
var spareColumns = []string{
	"EKCERT SERIAL", "VIA", "ENDED", "LAST OUTCOME", "PROVEN", "VOUCHED", "TYPE", "PORT", "BY", "SERVICE", "TBOT",
}

// hashColumns are the columns of EK hashes and of fingerprints: hex that nobody reads to its end.
var hashColumns = []string{"OLD EK PUBLIC HASH", "EK PUBLIC HASH", "NEW EK PUBLIC HASH", "FINGERPRINT"}

// leastOfHash is how much of a hash is shown at the least.
const leastOfHash = 12

// shortenHashes cuts hashes to what is unique in their column.
func shortenHashes(rows [][]string) {
	for k, title := range rows[0] {
		if !slices.Contains(hashColumns, title) {
			continue
		}
		var all []string
		for _, r := range rows[1:] {
			all = append(all, r[k])
		}
		n := screen.Unique(all, leastOfHash)
		for _, r := range rows[1:] {
			r[k] = r[k][:min(n, len(r[k]))]
		}
	}
}

// tint is the colour of a cell: only words that say how something is have one.
func tint(cell string) screen.Color {
	switch outcome.Outcome(cell) {
	case outcome.Changed:
		return screen.News
	case outcome.Unreachable, outcome.Failed, outcome.Canceled:
		return screen.Bad
	case outcome.Skipped:
		return screen.Warn
	}
	switch m := outcome.Lookup(outcome.Code(cell)); m.Severity {
	case outcome.Trouble, outcome.Alarm:
		return screen.Bad
	case outcome.Attention:
		return screen.Warn
	}
	return screen.Default
}

// maxCell bounds a cell that others stand behind, in bytes: every row is as wide as the widest.
const maxCell = 200

// short cuts all cells but the last.
func short(cells []string) []string {
	for i, c := range cells[:max(0, len(cells)-1)] {
		if len(c) > maxCell {
			cells[i] = strings.ToValidUTF8(c[:maxCell], "") + "…"
		}
	}
	return cells
}
