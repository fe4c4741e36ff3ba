package enroll

import (
	"context"

	"fleetctl/enroll/token"
)

// contract takes rules out of tokens that their machines are known not to be configured with any more, since they have
// joined with another one: after a copy of the records was made.
func (e *enrollment) contract(ctx context.Context) error {
	if e.opts.Check || e.opts.TokensOnly || ctx.Err() != nil {
		return nil
	}
	if err := e.noteJoins(ctx); err != nil || e.opts.InstallOnly { // whoever makes the tokens finds the joins in the records
		return err
	}
	s := &settlement{Fleet: e.Fleet, run: e.run, opts: TokensOptions{Check: true, Only: e.only()}}
	set, err := s.make(ctx)
	if err != nil || !set.Contracts() {
		return err
	}
	if err := e.Store.Snapshot(ctx); err != nil {
		return err
	}
	opts := TokensOptions{Out: e.opts.Out, Format: token.FormatTctl, AllowRemovals: e.opts.AllowRemovals}
	s.opts.Check = false
	if set, err = s.make(ctx); err != nil {
		return err
	}
	if _, err := e.files(ctx, set, opts); err != nil {
		return err
	}
	_, err = e.apply(ctx, set, e.applyOptions(opts))
	return err
}

// noteJoins notes which machines have joined with their token in this run.
func (e *enrollment) noteJoins(ctx context.Context) error {
	joined := map[string]string{}
	for _, h := range e.Hosts {
		rec, err := e.record(ctx, h.Name)
		if err != nil {
			return err
		}
		name, in := e.tokenOf(h.Name), rec.Installed
		if name != "" && rec.Accepted != nil && in.JoinedBy(name) && in.JoinedRun == e.run {
			joined[rec.Accepted.EKHash] = name
		}
	}
	if len(joined) == 0 {
		return nil
	}
	return e.Store.Joined(ctx, e.run, joined)
}
