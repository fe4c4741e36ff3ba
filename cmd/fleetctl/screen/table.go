package screen

import (
	"io"
	"slices"
	"strings"

	"github.com/rivo/uniseg"
)

// Table writes rows in columns as wide as their widest cell. On a terminal what is too long for a line is cut: the last column
// first, and the wide ones where that is not enough. A cell of the header is never cut.
type Table struct {
	Style
	Tint func(cell string) Color // of a cell; nil: none has one

	rows [][]string // the first one is the header
}

// gap is what stands between columns, and least what is left of one that is cut.
const (
	gap   = "  "
	least = 12
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

// widths are the columns' widths.
func (t *Table) widths() []int {
	var widths []int
	for _, row := range t.rows {
		for k, cell := range row {
			if k == len(widths) {
				widths = append(widths, 0)
			}
			widths[k] = max(widths[k], Width(cell))
		}
	}
	if t.Width == 0 || len(widths) == 0 {
		return widths
	}
	over := -t.Width - len(gap)
	for _, n := range widths {
		over += n + len(gap)
	}
	last := len(widths) - 1
	for _, k := range append([]int{last}, byWidth(widths[:last])...) {
		floor := least
		if k == last {
			floor = 3 * least
		}
		give := min(over, widths[k]-max(floor, Width(t.rows[0][k])))
		if give > 0 {
			widths[k] -= give
			over -= give
		}
	}
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
