package screen

import (
	"io"
	"slices"
	"strings"

	"github.com/rivo/uniseg"
)

// Table writes rows in columns as wide as their widest cell. On a terminal what is too long for a line is left out or cut: empty
// columns go first, then the spare ones; the last column is cut, then the wide ones. A cell of the header is never cut.
type Table struct {
	Style
	Tint  func(cell string) Color // of a cell; nil: none has one
	Spare []string                // titles of columns that a narrow terminal does without, the first of them first
	Dear  []string                // titles of those that go only where it is very narrow

	rows [][]string // the first one is the header
}

// gap is what stands between columns, and least what is left of one that is cut.
const (
	gap   = "  "
	least = 12
)

// words is how much of the last column is wanted before spare columns are left out, and some what it is cut to before dear ones.
const (
	words = 3 * least
	some  = 20
)

// Add adds a row, the header first. Cells are text that is fit for a terminal.
func (t *Table) Add(cells []string) {
	shown := make([]string, len(cells))
	for i, c := range cells {
		shown[i] = t.Say(c)
	}
	t.rows = append(t.rows, shown)
}

// Write writes the table.
func (t *Table) Write(w io.Writer) error {
	t.narrow()
	widths := t.widths()
	var b strings.Builder
	for i, row := range t.rows {
		for k, cell := range row {
			cell = t.cut(cell, widths[k])
			text := cell
			if i > 0 && t.Tint != nil {
				text = t.Paint(t.Tint(row[k]), cell)
			}
			b.WriteString(text)
			if k < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[k]-Width(cell)))
				b.WriteString(gap)
			}
		}
		b.WriteByte('\n')
		if b.Len() > 64<<10 || i == len(t.rows)-1 {
			if _, err := io.WriteString(w, b.String()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	return nil
}

// narrow leaves columns out as long as the table is too wide, though its last column is cut.
func (t *Table) narrow() {
	if t.Width == 0 || len(t.rows) == 0 {
		return
	}
	drop := func(k int) {
		for i := range t.rows {
			t.rows[i] = slices.Delete(t.rows[i], k, k+1)
		}
	}
	wide := func(least int) bool {
		widths := t.full()
		last := len(widths) - 1
		widths[last] = min(widths[last], max(least, Width(t.rows[0][last])))
		return t.over(widths) > 0
	}
	for k := len(t.rows[0]) - 1; k >= 0 && len(t.rows[0]) > 1 && wide(words); k-- {
		if !slices.ContainsFunc(t.rows[1:], func(row []string) bool { return row[k] != "" }) {
			drop(k)
		}
	}
	leave := func(titles []string, least int) {
		for _, title := range titles {
			if k := slices.Index(t.rows[0], title); k >= 0 && len(t.rows[0]) > 1 && wide(least) {
				drop(k)
			}
		}
	}
	leave(t.Spare, words)
	leave(t.Dear, some)
}

// full are the widths of the columns' widest cells.
func (t *Table) full() []int {
	var widths []int
	for _, row := range t.rows {
		for k, cell := range row {
			if k == len(widths) {
				widths = append(widths, 0)
			}
			widths[k] = max(widths[k], Width(cell))
		}
	}
	return widths
}

// over is by how much columns are wider than the terminal.
func (t *Table) over(widths []int) int {
	over := -t.Width - len(gap)
	for _, n := range widths {
		over += n + len(gap)
	}
	return over
}

// widths are the columns' widths.
func (t *Table) widths() []int {
	widths := t.full()
	if t.Width == 0 || len(widths) == 0 {
		return widths
	}
	over := t.over(widths)
	last := len(widths) - 1
	give := func(k, floor int) {
		if n := min(over, widths[k]-max(floor, Width(t.rows[0][k]))); n > 0 {
			widths[k] -= n
			over -= n
		}
	}
	give(last, some)
	for _, k := range byWidth(widths[:last]) {
		give(k, least)
	}
	give(last, least)
	return widths
}

// byWidth are columns, the widest first.
func byWidth(widths []int) []int {
	order := make([]int, len(widths))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return widths[b] - widths[a] })
	return order
}

// cut shortens a cell to a width.
func (t *Table) cut(cell string, width int) string { return Cut(cell, width, t.Say("…")) }

// Width is how many columns a text takes on a terminal (Unicode Standard Annex 11).
func Width(text string) int { return uniseg.StringWidth(text) }

// Cut is the beginning of a text that is wider than so many columns, with a sign that something is missing.
func Cut(text string, width int, sign string) string {
	if len(text) <= width || Width(text) <= width {
		return text
	}
	var b strings.Builder
	room := width - Width(sign)
	for g := uniseg.NewGraphemes(text); g.Next() && room >= g.Width(); {
		b.WriteString(g.Str())
		room -= g.Width()
	}
	return b.String() + sign
}

// Unique is how long the beginnings of texts have to be so that different texts have different ones, and at least n.
func Unique(texts []string, n int) int {
	sorted := slices.Compact(slices.Sorted(slices.Values(texts)))
	for i := 1; i < len(sorted); i++ {
		a, b := sorted[i-1], sorted[i]
		same := 0
		for same < min(len(a), len(b)) && a[same] == b[same] {
			same++
		}
		n = max(n, same+1)
	}
	return n
}
