package enroll

import (
	"context"
	"errors"
	"slices"
	"time"

	"fleetctl/enroll/host"
	"fleetctl/enroll/store"
)

// The states of store.Installed that say that a host is not through.
const (
	stateApplying = "applying"
	stateFailed   = "failed"
	stateRemoving = "removing"
)

// hostJournal keeps in the records how far one host is. An entry is durable before the step that it names begins, so
// that whatever becomes of the controller, the records say where the host may be half-way.
type hostJournal struct {
	st   store.Store
	host string
	now  store.Installed
}

// openJournal begins with what the records know of the host.
func openJournal(ctx context.Context, st store.Store, host string, run int64) (*hostJournal, error) {
	j := &hostJournal{st: st, host: host}
	rec, err := st.Record(ctx, host)
	switch {
	case errors.Is(err, store.ErrNotFound):
		j.st = nil // a host that no record knows: there is nowhere to keep it
	case err != nil:
		return nil, err
	case rec.Installed != nil:
		j.now = *rec.Installed
	}
	j.now.Run = run
	return j, nil
}

// Begin notes the step that comes next, and that what it makes may be there from now on.
func (j *hostJournal) Begin(ctx context.Context, s host.Step) error {
	j.now.State, j.now.Step = stateApplying, s.Name
	if made := s.Makes.String(); made != "" && !slices.Contains(j.now.Made, made) {
		j.now.Made = append(j.now.Made, made)
	}
	return j.save(ctx)
}

// fail notes that the host was left at its last step.
func (j *hostJournal) fail(ctx context.Context) error {
	j.now.State = stateFailed
	return j.save(ctx)
}

// finish notes what the host is like now. A join that an earlier run has seen stays known until another one is seen.
func (j *hostJournal) finish(ctx context.Context, now store.Installed) error {
	now.At, now.Run, now.Made = time.Now().UTC(), j.now.Run, j.now.Made
	if was := j.now.JoinedAt; was != nil && (now.JoinedAt == nil || now.JoinedAt.Before(*was)) {
		now.JoinedAt, now.JoinedWith = was, j.now.JoinedWith
	}
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

// joinedBy says whether a run has verified that what is installed joins with a token, after the last change of it.
func joinedBy(in *store.Installed, token string, run int64) bool {
	return in != nil && in.State == "" && in.Token == token && in.JoinedWith == token && in.Run == run
}
