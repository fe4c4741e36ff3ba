package life

import (
	"context"
	"iter"
	"time"

	"fleetctl/enroll/store"
)

// commits are the records of a command that can die at any commit. It names every method of a store, so that none that is
// added to it can escape.
type commits struct {
	a *actor
	s store.Store
}

var _ store.Store = commits{}

func (r commits) BeginRun(ctx context.Context, command string, hosts int) (out int64, err error) {
	err = r.a.commit("BeginRun", func() (err error) {
		out, err = r.s.BeginRun(ctx, command, hosts)
		return err
	})
	return out, err
}

func (r commits) ResumeRun(ctx context.Context, run int64) error {
	return r.a.commit("ResumeRun", func() error { return r.s.ResumeRun(ctx, run) })
}

func (r commits) EndRun(ctx context.Context, run int64, state string) error {
	return r.a.commit("EndRun", func() error { return r.s.EndRun(ctx, run, state) })
}

func (r commits) Choose(ctx context.Context, run int64, hosts []string) error {
	return r.a.commit("Choose", func() error { return r.s.Choose(ctx, run, hosts) })
}

func (r commits) Chosen(ctx context.Context, run int64) (map[string]bool, error) {
	return r.s.Chosen(ctx, run)
}

func (r commits) Runs(ctx context.Context, limit int) ([]store.Run, error) {
	return r.s.Runs(ctx, limit)
}

func (r commits) Put(ctx context.Context, o store.Observation) (out store.Verdict, err error) {
	err = r.a.commit("Put", func() (err error) {
		out, err = r.s.Put(ctx, o)
		return err
	})
	return out, err
}

func (r commits) PutAll(ctx context.Context, all []store.Observation) (out []store.Verdict, err error) {
	err = r.a.commit("PutAll", func() (err error) {
		out, err = r.s.PutAll(ctx, all)
		return err
	})
	return out, err
}

func (r commits) Record(ctx context.Context, host string) (store.Record, error) {
	return r.s.Record(ctx, host)
}

func (r commits) Records(ctx context.Context) iter.Seq2[store.Record, error] {
	return r.s.Records(ctx)
}

func (r commits) History(ctx context.Context, host string) iter.Seq2[store.Observation, error] {
	return r.s.History(ctx, host)
}

func (r commits) Firsts(ctx context.Context) (map[int64]int, error) {
	return r.s.Firsts(ctx)
}

func (r commits) Seen(ctx context.Context, run int64) (map[string]string, error) {
	return r.s.Seen(ctx, run)
}

func (r commits) Duplicates(ctx context.Context) ([]store.Duplicate, error) {
	return r.s.Duplicates(ctx)
}

func (r commits) Accept(ctx context.Context, hosts ...string) error {
	return r.a.commit("Accept", func() error { return r.s.Accept(ctx, hosts...) })
}

func (r commits) Forget(ctx context.Context, hosts ...string) error {
	return r.a.commit("Forget", func() error { return r.s.Forget(ctx, hosts...) })
}

func (r commits) Assign(ctx context.Context, tokens map[string]string) error {
	return r.a.commit("Assign", func() error { return r.s.Assign(ctx, tokens) })
}

func (r commits) Publish(ctx context.Context, p store.Publication) error {
	return r.a.commit("Publish", func() error { return r.s.Publish(ctx, p) })
}

func (r commits) Retract(ctx context.Context, rules []store.Rule) error {
	return r.a.commit("Retract", func() error { return r.s.Retract(ctx, rules) })
}

func (r commits) Tokens(ctx context.Context) ([]store.Token, error) {
	return r.s.Tokens(ctx)
}

func (r commits) Rules(ctx context.Context) iter.Seq2[store.Rule, error] {
	return r.s.Rules(ctx)
}

func (r commits) Wrote(ctx context.Context, token, id string) error {
	return r.a.commit("Wrote", func() error { return r.s.Wrote(ctx, token, id) })
}

func (r commits) Saw(ctx context.Context, token string, epoch int64, rules []store.Rule) error {
	return r.a.commit("Saw", func() error { return r.s.Saw(ctx, token, epoch, rules) })
}

func (r commits) Machines(ctx context.Context) iter.Seq2[store.Machine, error] {
	return r.s.Machines(ctx)
}

func (r commits) Ways(ctx context.Context) iter.Seq2[store.Way, error] {
	return r.s.Ways(ctx)
}

func (r commits) AddWays(ctx context.Context, ways ...store.Way) error {
	return r.a.commit("AddWays", func() error { return r.s.AddWays(ctx, ways...) })
}

func (r commits) DropWays(ctx context.Context, ways ...store.Way) error {
	return r.a.commit("DropWays", func() error { return r.s.DropWays(ctx, ways...) })
}

func (r commits) Joined(ctx context.Context, run int64, tokens map[string]string) error {
	return r.a.commit("Joined", func() error { return r.s.Joined(ctx, run, tokens) })
}

func (r commits) LookedAt(ctx context.Context, run int64, joins map[string]time.Time) error {
	return r.a.commit("LookedAt", func() error { return r.s.LookedAt(ctx, run, joins) })
}

func (r commits) Snapshot(ctx context.Context) error {
	return r.a.commit("Snapshot", func() error { return r.s.Snapshot(ctx) })
}

func (r commits) SetStates(ctx context.Context, action string, machines ...store.Machine) error {
	return r.a.commit("SetStates", func() error { return r.s.SetStates(ctx, action, machines...) })
}

func (r commits) Rename(ctx context.Context, from, to string) error {
	return r.a.commit("Rename", func() error { return r.s.Rename(ctx, from, to) })
}

func (r commits) Note(ctx context.Context, entries ...store.Entry) error {
	return r.a.commit("Note", func() error { return r.s.Note(ctx, entries...) })
}

func (r commits) Journal(ctx context.Context) iter.Seq2[store.Entry, error] {
	return r.s.Journal(ctx)
}

func (r commits) Bound(ctx context.Context) (store.Bound, error) {
	return r.s.Bound(ctx)
}

func (r commits) Bind(ctx context.Context, b store.Bound) error {
	return r.a.commit("Bind", func() error { return r.s.Bind(ctx, b) })
}

func (r commits) Backup(ctx context.Context, path string) error {
	return r.a.commit("Backup", func() error { return r.s.Backup(ctx, path) })
}

func (r commits) SetInstalled(ctx context.Context, host string, i *store.Installed) error {
	return r.a.commit("SetInstalled", func() error { return r.s.SetInstalled(ctx, host, i) })
}

// Close is for whoever opened them.
func (r commits) Close() error { return nil }
