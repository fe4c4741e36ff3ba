// Package report gathers what somebody who signs for a fleet wants to know: who is in it and how that is known, what needs
// attention, what was done by whom. It reads records and judges nothing that they have not judged; how it looks is for others.
package report

import (
	"context"
	"iter"
	"math"
	"slices"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
)

// Report is a fleet as its records have it. What grows with the fleet is not kept but read again: Hosts and Log go over the
// records when they are asked for, so what a run that is at work writes meanwhile may be in them and not in the counts.
type Report struct {
	At       time.Time    `json:"at"`
	Version  string       `json:"fleetctl_version"`
	Fleet    string       `json:"fleet"`
	Cluster  string       `json:"cluster,omitempty"` // its name; "": no run has asked it yet
	Address  string       `json:"cluster_address,omitempty"`
	Bots     []string     `json:"bots,omitempty"`
	Listed   bool         `json:"inventory"` // there is one: who is not in it can be said
	ChecksCA bool         `json:"checks_ek_certificates"`
	Totals   Totals       `json:"totals"`
	Concerns []Concern    `json:"concerns"` // the worst first
	Runs     []Run        `json:"runs"`     // the latest, newest first
	Tokens   []TokenCount `json:"tokens"`

	States   []Count          `json:"states"`
	Vendors  []Count          `json:"vendors"`
	Firmware []Count          `json:"firmware"`
	Issuers  []records.Issuer `json:"issuers"`
	Expiry   Months           `json:"ek_certificate_expiry"`
	Joins    Months           `json:"latest_joins"`
	Growth   []Point          `json:"growth"`

	Hosts iter.Seq2[Host, error]        `json:"-"` // by name
	Log   iter.Seq2[store.Entry, error] `json:"-"` // in the order in which it was written
}

// Totals count hosts.
type Totals struct {
	Hosts     int `json:"hosts"`
	Proven    int `json:"proven"`
	Installed int `json:"installed"`
	Joined    int `json:"joined"` // a join of theirs is known
	Concerned int `json:"concerned"`
}

// Count is how many hosts have something in common. Several kinds that are rare stand in one, with their number.
type Count struct {
	Name  string `json:"name"` // "": nobody knows
	Hosts int    `json:"hosts"`
	Kinds int    `json:"kinds,omitempty"` // 0: one
}

// TokenCount is a token and how many hosts are assigned to it.
type TokenCount struct {
	store.Token
	Hosts int `json:"hosts"`
}

// Concern is what several hosts have that a person should look at.
type Concern struct {
	outcome.Meaning
	Hosts    int      `json:"hosts"`
	Examples []string `json:"examples"` // their first, by name
	Message  string   `json:"message,omitempty"`
}

// Run is a run and how its hosts ended.
type Run struct {
	store.Run
	Outcomes map[string]int `json:"outcomes"` // outcome → hosts
}

// Point is how many hosts of today were known after a run.
type Point struct {
	Run   int64     `json:"run"`
	At    time.Time `json:"at"`
	Hosts int       `json:"hosts"`
}

// Source is what a report is made of.
type Source struct {
	Store     store.Store
	Inventory []inventory.Host // the whole of it; nil: nobody says who belongs to the fleet
	CAs       *tpm.CASet       // nil: certificates are not checked
	Now       time.Time
	Others    []Finding // what others have found besides
}

// Finding is a concern of one host.
type Finding struct {
	Host    string
	Code    outcome.Code
	Message string
}

// lastRuns is how many runs a report has.
const lastRuns = 10

// Gather goes over the records once and returns what a report says of all hosts together.
func Gather(ctx context.Context, src Source) (Report, error) {
	joins, err := lastJoins(ctx, src.Store)
	if err != nil {
		return Report{}, err
	}
	r := Report{
		At: src.Now, Listed: len(src.Inventory) > 0, ChecksCA: src.CAs != nil, Hosts: hosts(ctx, src, joins),
		Log: records.Log(ctx, src.Store, ""),
	}
	t := newTally(src.Now)
	for h, err := range r.Hosts {
		if err != nil {
			return Report{}, err
		}
		t.add(h)
	}
	for _, f := range src.Others {
		t.concerns.add(f)
	}
	t.fill(&r)
	if r.Issuers, err = records.Issuers(ctx, src.Store, src.CAs, src.Now); err != nil {
		return Report{}, err
	}
	return r, r.addHistory(ctx, src.Store, t.tokens)
}

// addHistory adds what the records have of runs and tokens.
func (r *Report) addHistory(ctx context.Context, st store.Store, assigned map[string]int) error {
	runs, err := st.Runs(ctx, math.MaxInt32)
	if err != nil {
		return err
	}
	for _, run := range runs[:min(lastRuns, len(runs))] {
		seen, err := st.Seen(ctx, run.ID)
		if err != nil {
			return err
		}
		r.Runs = append(r.Runs, Run{Run: run, Outcomes: countValues(seen)})
	}
	firsts, err := st.Firsts(ctx)
	if err != nil {
		return err
	}
	r.Growth = growth(runs, firsts)
	tokens, err := st.Tokens(ctx)
	for _, t := range tokens {
		r.Tokens = append(r.Tokens, TokenCount{Token: t, Hosts: assigned[t.Name]})
	}
	return err
}

func countValues(seen map[string]string) map[string]int {
	counts := map[string]int{}
	for _, v := range seen {
		counts[v]++
	}
	return counts
}

// growth adds up, from the oldest run to the newest, how many hosts there were. Runs come newest first.
func growth(runs []store.Run, firsts map[int64]int) []Point {
	var points []Point
	total := 0
	for _, run := range slices.Backward(runs) {
		if n := firsts[run.ID]; n > 0 {
			total += n
			points = append(points, Point{Run: run.ID, At: run.Started, Hosts: total})
		}
	}
	return points
}
