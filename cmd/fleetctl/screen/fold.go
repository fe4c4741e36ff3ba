package screen

import (
	"fmt"
	"strconv"
	"strings"
)

// Fold says names in few words: names that differ in one number alone stand together, "web-[001-023,025]". The numbers keep
// their order and their zeros. What is said first is what came first. A name that is there twice is said once.
func Fold(names []string) []string {
	items, _ := fold(names)
	return items
}

// Folded is Fold in one text of at most n items, with how many names are not said.
func Folded(names []string, n int) string {
	items, members := fold(names)
	if len(items) <= n {
		return strings.Join(items, ", ")
	}
	left := 0
	for _, m := range members[n:] {
		left += m
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:n], ", "), left)
}

// fold returns the items, and how many names each has.
func fold(names []string) (items []string, members []int) {
	names = once(names)
	places := make(map[around]int)
	for _, name := range names {
		for _, n := range numbersIn(name) {
			places[n.around]++
		}
	}
	var order []around
	folded := map[around]*ranges{}
	for _, name := range names {
		n := best(name, places)
		r, ok := folded[n.around]
		if !ok {
			r = &ranges{}
			folded[n.around] = r
			order = append(order, n.around)
		}
		r.add(n.digits)
	}
	for _, a := range order {
		items = append(items, a.before+folded[a].String()+a.behind)
		members = append(members, folded[a].n)
	}
	return items, members
}

// once is every name once, in their order.
func once(names []string) []string {
	seen := make(map[string]bool, len(names))
	out := make([]string, 0, len(names))
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// around is what stands before and behind a number of a name; alone: the whole name is before, and none of its numbers counts.
type around struct {
	before, behind string
	alone          bool
}

// number is one number of a name; without digits: the name stands alone.
type number struct {
	around
	digits string
}

// maxDigits is how long a number may be that can be counted.
const maxDigits = 18

// numbersIn are the numbers of a name.
func numbersIn(name string) (all []number) {
	for i := 0; i < len(name); {
		end := i
		for end < len(name) && name[end] >= '0' && name[end] <= '9' {
			end++
		}
		if end > i && end-i <= maxDigits {
			all = append(all, number{around{before: name[:i], behind: name[end:]}, name[i:end]})
		}
		i = max(end, i+1)
	}
	return all
}

// best is the number of a name by which most names stand together; of equals the last one.
func best(name string, places map[around]int) number {
	found := number{around: around{before: name, alone: true}}
	most := 1
	for _, n := range numbersIn(name) {
		if places[n.around] >= most && places[n.around] > 1 {
			found, most = n, places[n.around]
		}
	}
	return found
}

// ranges are numbers, as they were written.
type ranges struct {
	all []span
	n   int
}

type span struct{ first, last string }

func (r *ranges) add(digits string) {
	r.n++
	if len(r.all) > 0 {
		if at := &r.all[len(r.all)-1]; follows(at.last, digits) {
			at.last = digits
			return
		}
	}
	r.all = append(r.all, span{digits, digits})
}

// follows says whether b is the number after a, written in the same way.
func follows(a, b string) bool {
	x, err := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	if err != nil || err2 != nil || y != x+1 {
		return false
	}
	return len(a) == len(b) || a[0] != '0' && b[0] != '0' && len(b) == len(a)+1
}

func (r *ranges) String() string {
	if len(r.all) == 1 && r.all[0].first == r.all[0].last {
		return r.all[0].first
	}
	parts := make([]string, len(r.all))
	for i, s := range r.all {
		parts[i] = s.first
		if s.last != s.first {
			parts[i] += "-" + s.last
		}
	}
	return "[" + strings.Join(parts, ",") + "]"
}
