package screen

import (
	"fmt"
	"strconv"
	"strings"
)

// Fold says names in few words: names that differ in one number alone stand together, "web-[001-023,025]". The numbers keep
// their order and their zeros. What is said first is what came first. A name that is there twice is said once.
func Fold(names []string) []string {
	all := fold(once(names))
	items := make([]string, len(all))
	for i, it := range all {
		items[i] = it.String()
	}
	return items
}

// Folded is Fold in one text of at most n names and ranges of names, with how many names are not said.
func Folded(names []string, n int) string {
	names = once(names)
	var said []string
	left := len(names)
	for _, it := range fold(names) {
		if n == 0 {
			break
		}
		it.all = it.all[:min(n, len(it.all))]
		n -= len(it.all)
		left -= it.names()
		said = append(said, it.String())
	}
	if left == 0 {
		return strings.Join(said, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(said, ", "), left)
}

// fold gathers names that differ in one number alone.
func fold(names []string) []*item {
	places := make(map[around]int)
	for _, name := range names {
		for _, n := range numbersIn(name) {
			places[n.around]++
		}
	}
	var items []*item
	folded := map[around]*item{}
	for _, name := range names {
		n := best(name, places)
		it, ok := folded[n.around]
		if !ok {
			it = &item{around: n.around}
			folded[n.around] = it
			items = append(items, it)
		}
		it.add(n.digits)
	}
	return items
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

// item is names that differ in one number alone: the numbers, as they were written.
type item struct {
	around
	all []span
}

// span is n numbers, one after the other.
type span struct {
	first, last string
	n           int
}

func (it *item) add(digits string) {
	if len(it.all) > 0 {
		if at := &it.all[len(it.all)-1]; follows(at.last, digits) {
			at.last = digits
			at.n++
			return
		}
	}
	it.all = append(it.all, span{digits, digits, 1})
}

// names is how many there are.
func (it *item) names() (n int) {
	for _, s := range it.all {
		n += s.n
	}
	return n
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

func (it *item) String() string {
	if len(it.all) == 1 && it.all[0].n == 1 {
		return it.before + it.all[0].first + it.behind
	}
	parts := make([]string, len(it.all))
	for i, s := range it.all {
		parts[i] = s.first
		if s.last != s.first {
			parts[i] += "-" + s.last
		}
	}
	return it.before + "[" + strings.Join(parts, ",") + "]" + it.behind
}
