package enroll

import (
	"context"
	"errors"
	"slices"
	"time"

	"fleetctl/enroll/host"
	"fleetctl/enroll/store"
)

// hostJournal keeps in the records how far one host is. An entry is durable before the step that it names begins, so
// that whatever becomes of the controller, the records say where the host may be half-way.
type hostJournal struct {
	st   store.Store
	host string
	now  store.Installed
	new  []string // of now.Made: what this run noted
}

// openJournal begins with what the records know of the host.
func openJournal(ctx context.Context, st store.Store, name string, run int64) (*hostJournal, error) {
	j := &hostJournal{st: st, host: name}
	rec, err := st.Record(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		j.st = nil // a host that no record knows: there is nowhere to keep it
	case err != nil:
		return nil, err
	case rec.Installed != nil:
		j.now = *rec.Installed
		for _, t := range host.MadeBy(rec.Installed) { // what an older fleetctl kept elsewhere is about to be overwritten
			j.made(t)
		}
		j.new = nil
	}
	j.now.Run = run
	return j, nil
}

// Begin notes the step that comes next, and that what it makes may be there from now on. A tbot that is about to be
// another one, or to run in another way, has not joined.
func (j *hostJournal) Begin(ctx context.Context, s host.Step) error {
	j.now.State, j.now.Step = store.HostApplying, s.Name
	if s.Configures() {
		at := time.Now().UTC()
		j.now.ChangedRun, j.now.ChangedAt, j.now.JoinedRun = j.now.Run, &at, 0
	}
	for _, t := range s.Things() {
		j.made(t)
	}
	return j.save(ctx)
}

// made notes a thing, once.
func (j *hostJournal) made(t host.Thing) {
	if !slices.Contains(j.now.Made, t.String()) {
		j.now.Made = append(slices.Clone(j.now.Made), t.String())
		j.new = append(j.new, t.String())
	}
}

// undone notes that things that this run made are no more: a later removal must not take what somebody else makes by their names.
func (j *hostJournal) undone(ctx context.Context, things []host.Thing) error {
	if len(things) == 0 {
		return nil
	}
	j.now.Made = slices.DeleteFunc(slices.Clone(j.now.Made), func(text string) bool {
		return slices.Contains(j.new, text) && slices.ContainsFunc(things, func(t host.Thing) bool { return t.String() == text })
	})
	return j.save(ctx)
}

// fail notes that the host was left at its last step.
func (j *hostJournal) fail(ctx context.Context) error {
	j.now.State = store.HostFailed
	return j.save(ctx)
}

// verified is a join of a host that counts; nil: none was seen, or asked for.
type verified struct {
	at    time.Time
	token string
}

// note keeps a join that run has verified.
func (v *verified) note(in *store.Installed, run int64) {
	if v != nil {
		in.JoinedAt, in.JoinedWith, in.JoinedRun = &v.at, v.token, run
	}
}

// finish notes what the host is like now. A join that an earlier run has seen stays known until another one is seen. The
// time is that of the last change: a run that only looks leaves it.
func (j *hostJournal) finish(ctx context.Context, now store.Installed, join *verified) error {
	was := j.now
	now.At, now.Run, now.Made = was.At, was.Run, was.Made
	if was.State != "" || was.At.IsZero() {
		now.At = time.Now().UTC()
	}
	now.ChangedRun, now.ChangedAt = was.ChangedRun, was.ChangedAt
	now.JoinedAt, now.JoinedWith, now.JoinedRun = was.JoinedAt, was.JoinedWith, was.JoinedRun
	join.note(&now, was.Run)
	j.now = now
	return j.save(ctx)
}

// save outlives the run's context: what was done is noted also when somebody pressed Ctrl-C meanwhile.
func (j *hostJournal) save(ctx context.Context) error {
	if j.st == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	entry := j.now
	entry.Made = slices.Clone(entry.Made)
	return j.st.SetInstalled(ctx, j.host, &entry)
}
