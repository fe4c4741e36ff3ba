package report

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"fleetctl/enroll/outcome"
)

// tally counts hosts as they come by. It keeps numbers and a few names, never the hosts.
type tally struct {
	totals                    Totals
	states, vendors, firmware map[string]int
	tokens                    map[string]int
	expiry, joins             *Months
	concerns                  concerns
}

func newTally(now time.Time) *tally {
	return &tally{
		states: map[string]int{}, vendors: map[string]int{}, firmware: map[string]int{}, tokens: map[string]int{},
		expiry: monthsFrom(now, 0), joins: monthsFrom(now, 1-monthsShown), concerns: concerns{},
	}
}

func (t *tally) add(h Host) {
	t.totals.Hosts++
	t.totals.Proven += one(h.Proven)
	t.totals.Installed += one(h.Installed)
	t.totals.Joined += one(!h.Joined.IsZero())
	t.totals.Concerned += one(len(h.Concerns) > 0)
	t.states[string(h.State)]++
	vendor, firmware := "", ""
	if h.TPM != nil {
		vendor = h.TPM.Manufacturer
		if h.TPM.Firmware != "" {
			firmware = vendor + " " + h.TPM.Firmware
		}
	}
	t.vendors[vendor]++
	t.firmware[firmware]++
	if h.Token != "" {
		t.tokens[h.Token]++
	}
	t.expiry.add(h.NotAfter)
	t.joins.add(h.Joined)
	for _, code := range h.Concerns {
		t.concerns.add(Finding{Host: h.Host, Code: code, Message: h.messages[code]})
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// fill writes the counts into a report.
func (t *tally) fill(r *Report) {
	r.Totals, r.Concerns = t.totals, t.concerns.sorted()
	r.States, r.Vendors, r.Firmware = counts(t.states), counts(t.vendors), counts(t.firmware)
	r.Expiry, r.Joins = *t.expiry, *t.joins
}

// mostKinds is how many kinds of a thing have a row of their own: what hosts say of themselves may differ in each.
const mostKinds = 15

// counts sorts by number of hosts, what nobody knows last, and puts the rarest together.
func counts(of map[string]int) []Count {
	list := make([]Count, 0, len(of))
	for name, n := range of {
		list = append(list, Count{Name: name, Hosts: n})
	}
	slices.SortFunc(list, func(a, b Count) int {
		return cmp.Or(one(a.Name == "")-one(b.Name == ""), b.Hosts-a.Hosts, cmp.Compare(a.Name, b.Name))
	})
	if len(list) <= mostKinds {
		return list
	}
	rest := Count{}
	for _, c := range list[mostKinds:] {
		rest.Hosts, rest.Kinds = rest.Hosts+c.Hosts, rest.Kinds+1
	}
	return append(list[:mostKinds:mostKinds], rest)
}

// concerns are those of all hosts, by code.
type concerns map[outcome.Code]*Concern

// mostExamples is how many hosts are named of a concern.
const mostExamples = 5

// add notes a concern of a host; one host after the other, so that one that has it twice counts once.
func (c concerns) add(f Finding) {
	group := c[f.Code]
	if group == nil {
		group = &Concern{Meaning: meaning(f), Message: f.Message}
		c[f.Code] = group
	}
	if n := len(group.Examples); n > 0 && group.Examples[n-1] == f.Host {
		return
	}
	group.Hosts++
	if len(group.Examples) < mostExamples {
		group.Examples = append(group.Examples, f.Host)
	}
}

// meaning is that of the list of codes; what a TPM is like may have a word of its own that is not in it.
func meaning(f Finding) outcome.Meaning {
	if m := outcome.Lookup(f.Code); m.Code != "" {
		return m
	}
	return outcome.Meaning{Code: f.Code, Of: outcome.OfWarning, Severity: outcome.Trouble, Means: f.Message}
}

// sorted puts the worst first, and of equals what most hosts have.
func (c concerns) sorted() []Concern {
	list := []Concern{}
	for _, code := range slices.Sorted(maps.Keys(c)) {
		list = append(list, *c[code])
	}
	slices.SortStableFunc(list, func(a, b Concern) int {
		return cmp.Or(rank(a.Severity)-rank(b.Severity), b.Hosts-a.Hosts)
	})
	return list
}

// rank is 0 for what is worst.
func rank(s outcome.Severity) int {
	return slices.Index([]outcome.Severity{outcome.Alarm, outcome.Trouble, outcome.Attention, outcome.Info}, s)
}
