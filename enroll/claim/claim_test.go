package claim

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

const ek = "e1"

// side is a record that presents the EK: "proven", "claimed", with "+rule", or "waits" for a proven one.
func side(host, what string) store.Record {
	how, _, rule := strings.Cut(what, "+")
	if how == "waits" {
		return store.Record{Host: host, Accepted: &store.Identity{EKHash: "another", Proven: true},
			Pending: &store.Identity{EKHash: ek, Proven: true}, Token: "fleet", TokenEK: "another"}
	}
	r := store.Record{Host: host, Accepted: &store.Identity{EKHash: ek, Proven: how == "proven"}}
	if rule {
		r.Token, r.TokenEK = "fleet", ek
	}
	return r
}

func TestWhoHoldsAnEK(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		sides  []string // of the hosts a, b, c
		listed string   // the inventory; "": nobody knows it
		holder string
		codes  []outcome.Code // of all of them
		says   string         // in the reason of a
		alarm  bool
	}{
		{"a proof beats a claim", []string{"claimed", "proven"}, "ab", "b", codes("dd"), "b has proven it", false},
		{"a proof beats a claim that has a rule", []string{"claimed+rule", "proven"}, "ab", "b", codes("dd"), "b has proven it", false},
		{"of two proofs the one with the rule stays", []string{"proven", "proven+rule"}, "ab", "b", codes("dd"), "keeps its rule in token fleet", true},
		{"of two proofs without a rule none", []string{"proven", "proven"}, "ab", "", codes("dd"), "the same EK as b", true},
		{"of two claims the one with the rule stays", []string{"claimed", "claimed+rule"}, "ab", "b", codes("dd"), "b had it first", false},
		{"of two claims without a rule none", []string{"claimed", "claimed"}, "ab", "", codes("dd"), "the same EK as b", false},
		{"a rule never goes because nobody can tell", []string{"claimed+rule", "proven", "proven"}, "abc", "a", codes("ddd"), "b, c proved to hold", true},
		{"what waits holds nothing", []string{"proven", "waits"}, "ab", "a", codes("dd"), "one of them is a copy", true},
		{"a new name", []string{"proven", "proven+rule"}, "a", "b", codes("rd"), "was it renamed?", true},
		{"a new name of an adopted rule", []string{"proven", "claimed+rule"}, "a", "a", codes("rd"), "was it renamed?", false},
		{"a claim of nobody", []string{"proven+rule", "claimed"}, "a", "a", codes("dd"), "only claimed", false},
		{"a claimed new name is none", []string{"claimed", "proven+rule"}, "a", "b", codes("dd"), "keeps its rule", false},
		{"without an inventory nobody has left it", []string{"proven", "proven+rule"}, "", "b", codes("dd"), "keeps its rule", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var f Fleet
			if tt.listed != "" {
				f.Listed = func(h string) bool { return strings.Contains(tt.listed, h) }
			}
			var sides []store.Record
			for i, s := range tt.sides {
				sides = append(sides, side("abc"[i:i+1], s))
			}
			d := Judge(ek, sides, f)
			holder, got := "", []outcome.Code{}
			for _, r := range sides {
				got = append(got, d.Reason(r.Host).Code)
				if d.Holds(r.Host) {
					holder += r.Host
				}
			}
			if why := d.Reason("a"); holder != tt.holder || !slices.Equal(got, tt.codes) || !strings.Contains(why.Message, tt.says) || why.Hint == "" {
				t.Errorf("holder %q, codes %v, a: %+v", holder, got, why)
			}
			if d.Alarm() != tt.alarm {
				t.Errorf("alarm: %v", d.Alarm())
			}
		})
	}
}

// codes are duplicate-ek and renamed, by their first letters.
func codes(letters string) (all []outcome.Code) {
	for _, c := range letters {
		all = append(all, map[rune]outcome.Code{'d': outcome.DuplicateEK, 'r': outcome.Renamed}[c])
	}
	return all
}

func TestOfManyClonesAFewAreNamed(t *testing.T) {
	t.Parallel()
	var sides []store.Record
	for i := range 1000 {
		sides = append(sides, side(fmt.Sprintf("web-%04d", i), "claimed"))
	}
	d := Judge(ek, sides, Fleet{})
	want := "presents the same EK as web-0000, web-0001, web-0003, web-0004, web-0005, web-0006, web-0007, web-0008, web-0009, web-0010 and 989 more"
	if got := d.Reason("web-0002").Message; got != want {
		t.Errorf("%q", got)
	}
	if first, more := d.Others("web-0999"); len(first) != MostOthers || more != 989 {
		t.Errorf("%q and %d more", first, more)
	}
	if first, more := (Dispute{}).Others("web-0001"); len(first) > 0 || more != 0 {
		t.Errorf("of no dispute: %q and %d more", first, more)
	}
}
