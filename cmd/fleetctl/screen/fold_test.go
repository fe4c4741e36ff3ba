package screen

import (
	"fmt"
	"strings"
	"testing"
)

func numbered(format string, from, to int) (names []string) {
	for i := from; i <= to; i++ {
		names = append(names, fmt.Sprintf(format, i))
	}
	return names
}

func TestFold(t *testing.T) {
	t.Parallel()
	for want, names := range map[string][]string{
		"":                                     nil,
		"web-01":                               {"web-01"},
		"web-[001-023]":                        numbered("web-%03d", 1, 23),
		"web-[001-003,005], db, web-9x":        {"web-001", "web-002", "web-003", "db", "web-005", "web-9x"},
		"h[8-11]":                              {"h8", "h9", "h10", "h11"},
		"h[08-10,9]":                           {"h08", "h09", "h10", "h9", "h10"}, // zeros are part of a name
		"10.0.0.[1-20]":                        numbered("10.0.0.%d", 1, 20),
		"rack1-node[01-03], rack2-node[01-02]": {"rack1-node01", "rack1-node02", "rack1-node03", "rack2-node01", "rack2-node02"},
		"web[1-3].dc2.example.com":             numbered("web%d.dc2.example.com", 1, 3),
		"b[2,1]":                               {"b2", "b1"}, // the order stays
		"x12345678901234567890, x12345678901234567891": {"x12345678901234567890", "x12345678901234567891"},
	} {
		if got := strings.Join(Fold(names), ", "); got != want {
			t.Errorf("%v: %s, want %s", names, got, want)
		}
	}
}

func TestFoldedCountsWhatItDoesNotSay(t *testing.T) {
	t.Parallel()
	names := append(numbered("web-%02d", 1, 5), "alpha", "beta", "gamma")
	if got := Folded(names, 2); got != "web-[01-05], alpha and 2 more" {
		t.Error(got)
	}
	if got := Folded(names[:5], 1); got != "web-[01-05]" {
		t.Error(got)
	}
	// what is bounded is what stands in the line, not how many kinds of names there are
	odd := []string{"web-01", "web-03", "web-04", "web-06", "web-08", "db-1", "db-2"}
	if got := Folded(odd, 2); got != "web-[01,03-04] and 4 more" {
		t.Error(got)
	}
	if got := Folded(odd, 5); got != "web-[01,03-04,06,08], db-[1-2]" {
		t.Error(got)
	}
}

// FuzzFold unfolds what was folded: every name comes back, as often as it was there.
func FuzzFold(f *testing.F) {
	f.Add("web-01 web-02 db x9 x10 x11")
	f.Add("0 00 000 1")
	f.Fuzz(func(t *testing.T, text string) {
		names := strings.Fields(text)
		names = once(names)
		if strings.ContainsAny(text, "[]-,") {
			t.Skip("it has our own signs")
		}
		want, got := map[string]int{}, map[string]int{}
		for _, name := range names {
			want[name]++
		}
		for _, item := range Fold(names) {
			for _, name := range unfold(item) {
				got[name]++
			}
		}
		if fmt.Sprint(want) != fmt.Sprint(got) {
			t.Errorf("%q became %q", names, Fold(names))
		}
	})
}

// unfold are the names of an item.
func unfold(item string) (names []string) {
	before, rest, ok := strings.Cut(item, "[")
	if !ok {
		return []string{item}
	}
	numbers, behind, _ := strings.Cut(rest, "]")
	for part := range strings.SplitSeq(numbers, ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		var x, y int
		_, _ = fmt.Sscanf(first, "%d", &x)
		_, _ = fmt.Sscanf(last, "%d", &y)
		for ; x <= y; x++ {
			names = append(names, fmt.Sprintf("%s%0*d%s", before, len(first), x, behind))
		}
	}
	return names
}
