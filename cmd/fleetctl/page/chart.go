package page

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"fleetctl/enroll/report"
)

// bars is a bar chart: a table, whose rows say in words what their bars show.
type bars struct {
	Title string
	Rows  []bar
}

type bar struct {
	Name    string
	Hosts   int
	Share   string // of all hosts, in percent
	Percent string // of the longest bar
}

// newBars makes bars of counts of so many hosts.
func newBars(title string, counts []report.Count, hosts int) bars {
	longest := 1
	for _, c := range counts {
		longest = max(longest, c.Hosts)
	}
	chart := bars{Title: title, Rows: make([]bar, len(counts))}
	for i, c := range counts {
		b := bar{Name: c.Name, Hosts: c.Hosts, Share: percent(c.Hosts, hosts, 1), Percent: percent(c.Hosts, longest, 2)}
		switch {
		case c.Kinds > 0:
			b.Name = number(c.Kinds) + " others"
		case c.Name == "":
			b.Name = "not known"
		}
		chart.Rows[i] = b
	}
	return chart
}

// percent is n of a whole, with so many digits.
func percent(n, of, digits int) string {
	return strconv.FormatFloat(100*float64(n)/float64(max(1, of)), 'f', digits, 64)
}

// The plot of a chart, in units of its view box of 720 by 190. The axes leave room for numbers on the left and below.
const (
	plotLeft, plotRight = 54, 710
	plotTop, plotBottom = 18, 150
)

// columns is a chart with a column a month, of hosts by a date of theirs.
type columns struct {
	report.Months
	ID, Title           string
	Early, Late, NoDate string // what is said of hosts whose date is not in a column
	Columns             []column
	Ticks               []tick
	Any                 bool // a month has hosts
}

type column struct {
	X, Y, Width, Height, Middle float64
	Label, Year                 string
	Hosts                       int
}

// tick is a line across the plot.
type tick struct {
	Y     float64
	Value int
}

func newColumns(id, title string, m report.Months, early, late, noDate string) columns {
	top := 0
	for _, month := range m.Months {
		top = max(top, month.Hosts)
	}
	c := columns{Months: m, ID: id, Title: title, Early: early, Late: late, NoDate: noDate, Any: top > 0, Ticks: ticks(top)}
	limit := c.Ticks[len(c.Ticks)-1].Value
	step := float64(plotRight-plotLeft) / float64(len(m.Months))
	for i, month := range m.Months {
		x, y := plotLeft+float64(i)*step, height(month.Hosts, limit)
		col := column{X: x + 3, Y: y, Width: step - 6, Height: plotBottom - y, Middle: x + step/2, Hosts: month.Hosts}
		year, number, _ := strings.Cut(month.Month, "-")
		if t, err := time.Parse("01", number); err == nil {
			col.Label = t.Format("Jan")
		}
		if i == 0 && number != "12" || number == "01" { // December's would touch January's
			col.Year = year
		}
		c.Columns = append(c.Columns, col)
	}
	return c
}

// height is where a number of hosts lies between the bottom of a plot and its limit.
func height(hosts, limit int) float64 {
	return plotBottom - float64(plotBottom-plotTop)*float64(hosts)/float64(limit)
}

// ticks are lines at round numbers from 0 to what holds top: at most six of them.
func ticks(top int) []tick {
	step := roundStep(top)
	var all []tick
	limit := step * max(1, (top+step-1)/step)
	for v := 0; v <= limit; v += step {
		all = append(all, tick{Y: height(v, limit), Value: v})
	}
	return all
}

// roundStep is the smallest of 1, 2, 5, 10, 20… of which five reach top.
func roundStep(top int) int {
	for power := 1; ; power *= 10 {
		for _, digit := range []int{1, 2, 5} {
			if 5*digit*power >= top {
				return digit * power
			}
		}
	}
}

// line is a chart of a number that grows, in steps.
type line struct {
	Path       string
	Ticks      []tick
	Begin, End time.Time
	First      report.Point
	Last       report.Point
}

// newLine draws points from the first of them to the moment of the report.
func newLine(points []report.Point, now time.Time) line {
	if len(points) == 0 {
		return line{}
	}
	l := line{First: points[0], Last: points[len(points)-1], Begin: points[0].At, End: now}
	l.Ticks = ticks(l.Last.Hosts)
	limit := l.Ticks[len(l.Ticks)-1].Value
	span := max(1, now.Sub(l.Begin).Seconds())
	var path strings.Builder
	fmt.Fprintf(&path, "M%d %d", plotLeft, plotBottom)
	right := float64(plotLeft)
	for _, p := range points {
		x := plotLeft + float64(plotRight-plotLeft)*p.At.Sub(l.Begin).Seconds()/span
		right = min(plotRight, max(right, x)) // clocks may be off: a line never goes back
		fmt.Fprintf(&path, "H%.1fV%.1f", right, height(p.Hosts, limit))
	}
	fmt.Fprintf(&path, "H%d", plotRight)
	l.Path = path.String()
	return l
}
