package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	Publish   bool       // somebody else installs: whoever gets a token may be configured with it from now on
	Only      []string   // hosts whose rules may change; nil: all
	Contract  []string   // hosts that are configured with their planned token alone, by a person's word
	Run       int64      // whose evidence it is
	Adopted   bool       // a person took over the tokens that somebody else made
	Undated   bool       // nobody knows what time it is: dates of EK certificates are not judged
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
	set.adopted = opts.Adopted
	if !opts.Persist {
		return set, nil
	}
	return set, set.persist(ctx, st, in, opts)
}

// persist notes what is new of the assignment, the tokens and the rules.
func (s *Set) persist(ctx context.Context, st store.Store, in Input, opts Options) error {
	p := store.Publication{Assign: map[string]string{}, Drop: s.ended}
	for _, r := range in.Records {
		if token := s.hosts[r.Host]; token != "" && (token != r.Token || r.TokenEK != r.Accepted.EKHash) {
			p.Assign[r.Host] = token
		}
	}
	known := map[store.Rule]bool{}
	for _, r := range s.written {
		r.Seen = false
		known[r] = true
	}
	for _, t := range s.Tokens {
		p.Epoch = max(p.Epoch, t.Epoch)
		if entry := t.entry(); !slices.ContainsFunc(in.Earlier, entry.is) {
			p.Tokens = append(p.Tokens, entry.Token)
		}
		for _, r := range t.stored() {
			if !known[r] {
				p.Rules = append(p.Rules, r)
			}
		}
	}
	if opts.Publish {
		p.Ways = s.given(in, opts.Run)
	}
	if len(p.Assign)+len(p.Tokens)+len(p.Rules)+len(p.Ways)+len(p.Drop) == 0 {
		return nil
	}
	return st.Publish(ctx, p)
}

// entry is a token as the records keep it.
type entry struct{ store.Token }

func (t Token) entry() entry {
	return entry{store.Token{
		Name: t.Name, Kind: t.Kind, Bot: t.Bot, CAs: t.CAs, CAsKnown: !t.KeepCAs, Epoch: t.Epoch, Digest: t.digest, Behind: t.behind,
	}}
}

func (e entry) is(t store.Token) bool {
	return e.Name == t.Name && e.Kind == t.Kind && e.Bot == t.Bot && e.Epoch == t.Epoch && e.Digest == t.Digest &&
		e.CAsKnown == t.CAsKnown && slices.Equal(e.CAs, t.CAs) && e.Behind == t.Behind
}

// given are the ways that machines have from now on, since somebody else installs what is planned.
func (s *Set) given(in Input, run int64) []store.Way {
	var ways []store.Way
	for _, ek := range slices.Sorted(maps.Keys(s.rules)) {
		token := s.rules[ek]
		if !slices.ContainsFunc(in.Ways[ek], func(w store.Way) bool { return w.Token == token }) {
			ways = append(ways, store.Way{EKHash: ek, Token: token, Evidence: store.ByPublish, Run: run})
		}
	}
	return ways
}

// tokenInput reads what PlanTokens needs from the records and the inventory.
func inputOf(ctx context.Context, st store.Store, cfg config.Config, opts Options) (in Input, err error) {
	in = Input{
		Policy: cfg.Token, Bot: cfg.Bot, CAs: opts.CAs, Rebalance: opts.Rebalance, Now: opts.Now, Undated: opts.Undated,
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
	if err := in.readLife(ctx, st, cfg); err != nil {
		return in, err
	}
	for r, err := range st.Records(ctx) {
		if err != nil {
			return in, err
		}
		if r.Accepted != nil {
			r.Last, r.Pending, r.Installed = nil, nil, nil // large, and no matter here
			in.Records = append(in.Records, r)
		}
	}
	if err := in.contract(opts.Contract); err != nil {
		return in, err
	}
	if opts.Only != nil {
		in.Only = map[string]bool{}
		for _, name := range opts.Only {
			in.Only[name] = true
		}
	}
	return in, in.readInventory(opts.Inventory)
}

// readLife reads what the records know of machines and tokens besides the hosts.
func (in *Input) readLife(ctx context.Context, st store.Store, cfg config.Config) (err error) {
	if in.Earlier, err = st.Tokens(ctx); err != nil {
		return err
	}
	bound, err := st.Bound(ctx)
	if err != nil {
		return err
	}
	in.Epoch, in.Fleet = bound.Epoch, cmp.Or(cfg.Fleet, bound.Fleet, cfg.Token.Name)
	in.EKs, in.Ways = map[string]store.Machine{}, map[string][]store.Way{}
	for m, err := range st.Machines(ctx) {
		if err != nil {
			return err
		}
		in.EKs[m.EKHash] = m
	}
	for w, err := range st.Ways(ctx) {
		if err != nil {
			return err
		}
		in.Ways[w.EKHash] = append(in.Ways[w.EKHash], w)
	}
	for r, err := range st.Rules(ctx) {
		if err != nil {
			return err
		}
		in.Published = append(in.Published, r)
	}
	return nil
}

// contract takes a person's word that hosts have one token alone.
func (in *Input) contract(hosts []string) error {
	in.Contract = map[string]bool{}
	for _, name := range hosts {
		i := slices.IndexFunc(in.Records, func(r store.Record) bool { return r.Host == name })
		if i < 0 {
			return &outcome.InputError{Msg: fmt.Sprintf("%s has no token alone: no record of it has an accepted EK", name)}
		}
		in.Contract[in.Records[i].Accepted.EKHash] = true
	}
	return nil
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
