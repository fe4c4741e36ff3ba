package enroll

import (
	"cmp"
	"context"
	"slices"
	"time"

	"fleetctl/enroll/store"
)

// OpenRule is a rule that somebody should look at: its host has left the inventory, or it stays for a host that has another
// token planned and has not joined for long. Nothing takes it away by itself.
type OpenRule struct {
	Host     string    `json:"host"`
	Token    string    `json:"token"`
	EKHash   string    `json:"ek_public_hash"`
	Orphan   bool      `json:"orphan,omitempty"`   // no host of the inventory has this EK
	Stale    bool      `json:"stale,omitempty"`    // it is kept, and the host has not joined for token.stale_after
	Until    string    `json:"until,omitempty"`    // it is kept until the host has joined with this token
	LastJoin time.Time `json:"last_join,omitzero"` // by the cluster's clock
}

// staleAfter is how long a host may not have joined before a rule that is kept for it is named.
const staleAfter = 30 * 24 * time.Hour

// openRules finds the rules that somebody should look at, by host and token. Without an inventory nothing is an orphan.
func (f Fleet) openRules(ctx context.Context) ([]OpenRule, error) {
	listed, planned, err := f.planned(ctx)
	if err != nil {
		return nil, err
	}
	machines := map[string]store.Machine{}
	for m, err := range f.Store.Machines(ctx) {
		if err != nil {
			return nil, err
		}
		machines[m.EKHash] = m
	}
	limit := cmp.Or(f.Config.Token.StaleAfter.Value(), staleAfter)
	var open []OpenRule
	for r, err := range f.Store.Rules(ctx) {
		if err != nil {
			return nil, err
		}
		m := machines[r.EKHash]
		if m.Out() {
			continue
		}
		o := OpenRule{Host: r.Host, Token: r.Token, EKHash: r.EKHash, Orphan: len(f.Inventory) > 0 && !listed[r.EKHash], LastJoin: m.LastJoin}
		if to := planned[r.EKHash]; to != "" && to != r.Token {
			o.Until, o.Stale = to, !m.LastJoin.IsZero() && time.Since(m.LastJoin) > limit
		}
		if o.Orphan || o.Stale {
			open = append(open, o)
		}
	}
	slices.SortFunc(open, func(a, b OpenRule) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Token, b.Token)) })
	return open, nil
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
	open, err := f.openRules(ctx)
	if err != nil || len(open) == 0 {
		return err
	}
	f.Watcher.Note(RulesOpen{Rules: open})
	return nil
}
