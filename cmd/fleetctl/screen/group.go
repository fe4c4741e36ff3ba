package screen

import (
	"fmt"
	"strings"
)

// Group is hosts of which the same is to be said.
type Group[K comparable, T any] struct {
	Key   K
	First T // the first of them
	Hosts []string
	Other bool // its messages are of more than one shape
}

// Groups gathers what has the same key, in the order in which keys appear. Each key has at most most shapes of messages; what
// comes in others stands together behind them, for a host could say something new each time.
type Groups[K comparable, T any] struct {
	Most int

	order  []*Group[K, T]
	shapes map[shaped[K]]*Group[K, T]
	others map[K]*Group[K, T]
	count  map[K]int
}

type shaped[K comparable] struct {
	key   K
	shape string
}

// Add adds a host with its message, and says whether it is the first of its group.
func (g *Groups[K, T]) Add(key K, host, message string, v T) bool {
	if g.shapes == nil {
		g.shapes, g.others, g.count = map[shaped[K]]*Group[K, T]{}, map[K]*Group[K, T]{}, map[K]int{}
	}
	at := shaped[K]{key, Shape(host, message)}
	in, ok := g.shapes[at]
	if !ok && g.count[key] >= g.Most {
		in, ok = g.others[key]
	}
	if !ok {
		in = &Group[K, T]{Key: key, First: v}
		if in.Other = g.count[key] >= g.Most; in.Other {
			g.others[key] = in
		} else {
			g.shapes[at] = in
			g.count[key]++
		}
		g.order = append(g.order, in)
	}
	in.Hosts = append(in.Hosts, host)
	return !ok
}

// All are the groups, in the order in which they began.
func (g *Groups[K, T]) All() []*Group[K, T] { return g.order }

// Shape is a message without what differs from host to host: its name, numbers, addresses, what stands in quotes.
func Shape(host, message string) string {
	words := strings.Fields(message)
	for i, w := range words {
		if strings.ContainsAny(w, `0123456789"@`) || strings.Contains(w, host) || strings.Contains(strings.TrimRight(w, ".,:;)"), ".") {
			words[i] = "#"
		}
	}
	return strings.Join(words, " ")
}

// Count says how many hosts something is about.
func Count(n int) string {
	if n == 1 {
		return "1 host"
	}
	return fmt.Sprintf("%d hosts", n)
}

// Wrap cuts a list at its blanks and behind its commas into lines of at most width columns, as far as its words allow it; at least
// one line.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		between := " "
		for part := range strings.SplitAfterSeq(word, ",") {
			switch {
			case line == "":
				line = part
			case Width(line)+Width(between)+Width(part) <= width:
				line += between + part
			default:
				lines = append(lines, line)
				line = part
			}
			between = ""
		}
	}
	return append(lines, line)
}
