package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
)

// Options of Make.
type Options struct {
	// Inventory is the whole inventory, never a part of it: it says which bot a host joins as (fleetctl_bot) and which
	// names are one machine (fleetctl_same_as). Hosts of the records that are not in it keep what they have.
	Inventory []inventory.Host
	CAs       *tpm.CASet // nil: those of cfg.Token.EKCertCAs, if any
	Rebalance bool       // assign anew, as if there were no earlier tokens
	Persist   bool       // note the assignment in the records
	Now       time.Time  // when EK certificates have to be valid; zero: now
}

// Make computes the tokens of everything that the records hold, and with opts.Persist notes the assignment of
// hosts to tokens. Call it inside a run of the store, so that no other run assigns at the same time. Errors that the
// user can correct are ErrInput.
func Make(ctx context.Context, st store.Store, cfg config.Config, opts Options) (*Set, error) {
	in, err := inputOf(ctx, st, cfg, opts)
	if err != nil {
		return nil, err
	}
	set, err := Plan(in)
	if err != nil {
		return nil, err
	}
	for r, err := range st.Rules(ctx) {
		if err != nil {
			return nil, err
		}
		set.written = append(set.written, r)
	}
	if !opts.Persist {
		return set, nil
	}
	return set, set.persist(ctx, st, in)
}

// persist notes what is new of the assignment, the tokens and the rules.
func (s *Set) persist(ctx context.Context, st store.Store, in Input) error {
	assign := map[string]string{}
	for _, r := range in.Records {
		if token := s.hosts[r.Host]; token != "" && (token != r.Token || r.TokenEK != r.Accepted.EKHash) {
			assign[r.Host] = token
		}
	}
	known := map[store.Rule]bool{}
	for _, r := range s.written {
		known[r] = true
	}
	var tokens []store.Token
	var rules []store.Rule
	for _, t := range s.Tokens {
		same := func(e store.Token) bool { return e.Name == t.Name && e.Kind == t.Kind && e.Bot == t.Bot }
		if !slices.ContainsFunc(in.Earlier, same) {
			tokens = append(tokens, store.Token{Name: t.Name, Kind: t.Kind, Bot: t.Bot})
		}
		for _, r := range t.stored() {
			if !known[r] {
				rules = append(rules, r)
			}
		}
	}
	if len(assign)+len(tokens)+len(rules) == 0 {
		return nil
	}
	return st.Publish(ctx, store.Publication{Assign: assign, Tokens: tokens, Rules: rules})
}

// tokenInput reads what PlanTokens needs from the records and the inventory.
func inputOf(ctx context.Context, st store.Store, cfg config.Config, opts Options) (in Input, err error) {
	in = Input{
		Policy: cfg.Token, Bot: cfg.Bot, CAs: opts.CAs, Rebalance: opts.Rebalance, Now: opts.Now,
		BotOf: map[string]config.Bot{}, Machines: config.Machines{},
	}
	if in.Now.IsZero() {
		in.Now = time.Now()
	}
	if in.CAs == nil && len(cfg.Token.EKCertCAs) > 0 {
		set, err := tpm.LoadCAs(cfg.Token.EKCertCAs...)
		if err != nil {
			return in, fmt.Errorf("token.ekcert_cas: %w: %w", outcome.ErrInput, err)
		}
		in.CAs = set
	}
	if in.Earlier, err = st.Tokens(ctx); err != nil {
		return in, err
	}
	out := map[string]bool{}
	for m, err := range st.Machines(ctx) {
		if err != nil {
			return in, err
		}
		out[m.EKHash] = m.Out()
	}
	for r, err := range st.Records(ctx) {
		if err != nil {
			return in, err
		}
		if r.Accepted != nil && !out[r.Accepted.EKHash] {
			r.Last, r.Pending, r.Installed = nil, nil, nil // large, and no matter here
			in.Records = append(in.Records, r)
		}
	}
	return in, in.readInventory(opts.Inventory)
}

// readInventory takes from the inventory whom hosts join as and which names are one machine.
func (in *Input) readInventory(hosts []inventory.Host) error {
	var errs []error
	for _, h := range hosts {
		vars, err := config.Host(h)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		in.BotOf[h.Name] = vars.BotOr(in.Bot)
		if vars.SameAs != "" {
			in.Machines[h.Name] = vars.SameAs
		}
	}
	return errors.Join(errs...)
}
