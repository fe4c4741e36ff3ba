package enroll

import (
	"cmp"
	"context"
	"slices"
	"time"

	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
)

// OpenRule is a rule that somebody should look at: its host has left the inventory, or it stays for a host that has another
// token planned, or none, and has not joined for long. Nothing takes it away by itself.
type OpenRule struct {
	Host     string    `json:"host"`
	Token    string    `json:"token"`
	EKHash   string    `json:"ek_public_hash"`
	Orphan   bool      `json:"orphan,omitempty"`   // no host of the inventory has this EK
	Stale    bool      `json:"stale,omitempty"`    // it is kept, and the host has not joined for token.stale_after
	Until    string    `json:"until,omitempty"`    // it is kept until the host has joined with this token
	LastJoin time.Time `json:"last_join,omitzero"` // the latest that anybody knows of
	Since    time.Time `json:"since,omitzero"`     // where no join is known: when the host was first given the token
}

// staleAfter is how long a host may not have joined before a rule that is kept for it is named.
const staleAfter = 30 * 24 * time.Hour

// openRules finds the rules that somebody should look at, by host and token. Without an inventory nothing is an orphan. live
// are the joins that the cluster has just told; nil: it was not asked.
func (f Fleet) openRules(ctx context.Context, live map[string]tctl.Join) ([]OpenRule, error) {
	listed, planned, err := f.planned(ctx)
	if err != nil {
		return nil, err
	}
	joins, out, err := f.lastJoins(ctx, live)
	if err != nil {
		return nil, err
	}
	given, err := f.given(ctx)
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(f.Config.Token.StaleAfter.Value(), staleAfter)
	var open []OpenRule
	for r, err := range f.Store.Rules(ctx) {
		if err != nil {
			return nil, err
		}
		if out[r.EKHash] {
			continue
		}
		o := OpenRule{Host: r.Host, Token: r.Token, EKHash: r.EKHash, LastJoin: joins[r.EKHash]}
		o.Orphan = len(f.Inventory) > 0 && !listed[r.EKHash]
		if to := planned[r.EKHash]; to != r.Token {
			o.Until = to
			if o.LastJoin.IsZero() {
				o.Since = given[store.Way{EKHash: r.EKHash, Token: r.Token}]
			}
			known := cmp.Or(o.LastJoin, o.Since)
			o.Stale = !known.IsZero() && f.time().Sub(known) > limit
		}
		if o.Orphan || o.Stale {
			open = append(open, o)
		}
	}
	slices.SortFunc(open, func(a, b OpenRule) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Token, b.Token)) })
	return open, nil
}

// lastJoins are the latest joins that anybody knows of, by EK hash: the cluster now, a run that asked it, or one that verified a
// host. out are machines that a person took out.
func (f Fleet) lastJoins(ctx context.Context, live map[string]tctl.Join) (last map[string]time.Time, out map[string]bool, err error) {
	last, out = map[string]time.Time{}, map[string]bool{}
	note := func(ek string, at time.Time) {
		if at.After(last[ek]) {
			last[ek] = at
		}
	}
	for m, err := range f.Store.Machines(ctx) {
		if err != nil {
			return nil, nil, err
		}
		out[m.EKHash] = m.Out()
		note(m.EKHash, m.LastJoin)
	}
	for rec, err := range f.Store.Records(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if rec.Accepted != nil && rec.Installed != nil && rec.Installed.JoinedAt != nil {
			note(rec.Accepted.EKHash, *rec.Installed.JoinedAt)
		}
	}
	for ek, j := range live {
		note(ek, j.At)
	}
	return last, out, nil
}

// given says since when machines may be configured with tokens: when the run began that noted it.
func (f Fleet) given(ctx context.Context) (map[store.Way]time.Time, error) {
	runs, err := f.allRuns(ctx)
	if err != nil {
		return nil, err
	}
	began := map[int64]time.Time{}
	for _, r := range runs {
		began[r.ID] = r.Started
	}
	given := map[store.Way]time.Time{}
	for w, err := range f.Store.Ways(ctx) {
		if err != nil {
			return nil, err
		}
		given[store.Way{EKHash: w.EKHash, Token: w.Token}] = began[w.Run]
	}
	return given, nil
}

// planned says which EKs a host of the inventory has, and which token each is assigned to.
func (f Fleet) planned(ctx context.Context) (listed map[string]bool, token map[string]string, err error) {
	in := map[string]bool{}
	for _, h := range f.Inventory {
		in[h.Name] = true
	}
	listed, token = map[string]bool{}, map[string]string{}
	for rec, err := range f.Store.Records(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if rec.Accepted == nil {
			continue
		}
		ek := rec.Accepted.EKHash
		listed[ek] = listed[ek] || in[rec.Host]
		if rec.TokenEK == ek {
			token[ek] = rec.Token
		}
	}
	return listed, token, nil
}

// noteOpenRules notes them, where there are any.
func (f Fleet) noteOpenRules(ctx context.Context) error {
	open, err := f.openRules(ctx, nil)
	if err != nil || len(open) == 0 {
		return err
	}
	f.Watcher.Note(RulesOpen{Rules: open})
	return nil
}

// OpenRules are the rules that somebody should look at, as far as the records know.
func OpenRules(ctx context.Context, f Fleet) ([]OpenRule, error) { return f.openRules(ctx, nil) }
