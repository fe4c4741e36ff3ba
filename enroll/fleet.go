package enroll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fleetctl/templates"
)

// Fleet is what every use case works on: what the user decided, the hosts, the records and the cluster.
type Fleet struct {
	Config    config.Config
	Inventory []inventory.Host // the whole inventory, never a part of it: tokens are made of it whichever hosts are chosen
	Groups    []string         // all groups of the inventory
	Hosts     []inventory.Host // those that were chosen
	Store     store.Store
	Cluster   *tctl.Tctl     // nil: it cannot be asked, and the use case can do without
	Unasked   error          // why it cannot be asked, though it should be; nil where nobody wants it to
	Templates *templates.Set // nil: the built-in ones
	Access    Access
	Watcher   Watcher

	// Select chooses hosts of the inventory by patterns; nil: there is no inventory.
	Select func(patterns ...string) ([]inventory.Host, error)

	Confirm func(question string) bool // asks a person; nil: nobody is there to be asked

	// Dial connects to a host whose tbot is looked at, installed or taken away; nil: by Access.
	Dial func(context.Context, remote.Target) (host.Conn, error)

	Now         func() time.Time                         // the controller's clock; nil: the system's
	ClusterTime func(context.Context) (time.Time, error) // the cluster's; nil: nobody asks

	undated bool          // the clock can't be right: dates of certificates are not judged
	pause   time.Duration // between questions for joins; 0: confirmPause
}

// time is what the controller's clock says.
func (f Fleet) time() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

// Access says how hosts are reached. It is called once, before any host is contacted and after everything that can be
// checked without one; that is the moment to ask for passwords. close ends what it opened.
type Access func(ctx context.Context, hosts []inventory.Host) (reach work.Reach, close func(), err error)

// Watcher hears how a use case gets on. Its methods are called by one goroutine at a time.
type Watcher interface {
	Run(id int64)                 // of the records, to which all that follows belongs
	Begin(stage Stage, hosts int) // a stage over so many hosts
	Host(outcome.Result)          // one of them is through; its record is committed by then
	End()                         // of the stage
	Note(Note)                    // something else that a person should hear of
	At(host string, what work.Doing)
	Pace(work.Pace) // how far a rollout has come
	Logf(format string, args ...any)
}

// Stage is a part of a use case that goes over hosts.
type Stage string

// Stages.
const (
	StageScan    Stage = "scan"
	StageEnroll  Stage = "enroll"
	StageRemove  Stage = "remove"
	StageStatus  Stage = "status"
	StageSupport Stage = "support-bundle"
)

// machines says which names are one machine, in the whole inventory.
func (f Fleet) machines() config.Machines { return config.MachinesOf(f.Inventory) }

// reach asks for access to hosts.
func (f Fleet) reach(ctx context.Context, hosts []inventory.Host) (work.Reach, func(), error) {
	reach, closeAll, err := f.Access(ctx, hosts)
	if closeAll == nil {
		closeAll = func() {}
	}
	return reach, closeAll, err
}

// run is a run of the records whose results the watcher hears. Hosts speak of what they do whenever they do it, also
// while the result of another one is told: the watcher hears one at a time.
func (f Fleet) run(id int64) work.Run {
	var turn sync.Mutex
	return work.Run{
		ID: id, Store: f.Store, Machines: f.machines(),
		OnResult: func(r outcome.Result) {
			turn.Lock()
			defer turn.Unlock()
			f.Watcher.Host(r)
		},
		OnDoing: func(host string, what work.Doing) {
			turn.Lock()
			defer turn.Unlock()
			f.Watcher.At(host, what)
		},
		OnPace: func(p work.Pace) {
			turn.Lock()
			defer turn.Unlock()
			f.Watcher.Pace(p)
		},
		Logf: func(format string, args ...any) {
			turn.Lock()
			defer turn.Unlock()
			f.Watcher.Logf(format, args...)
		},
	}
}

// began tells which run is under way. What changes records alone has nobody who watches.
func (f Fleet) began(run int64) {
	if f.Watcher != nil {
		f.Watcher.Run(run)
	}
}

// inRun begins a run in the records, and ends it as fn ends, also when the context is done already.
func (f Fleet) inRun(ctx context.Context, command string, hosts int, fn func(run int64) error) error {
	run, err := f.Store.BeginRun(ctx, command, hosts)
	if err != nil {
		return err
	}
	f.began(run)
	err = fn(run)
	return errors.Join(err, f.endRun(ctx, run, err))
}

// overHosts is inRun for a run that can be gone on with: it is over these hosts, and no others are taken then.
func (f Fleet) overHosts(ctx context.Context, command string, hosts []inventory.Host, fn func(run int64) error) error {
	return f.inRun(ctx, command, len(hosts), func(run int64) error {
		names := make([]string, len(hosts))
		for i, h := range hosts {
			names[i] = h.Name
		}
		if err := f.Store.Choose(ctx, run, names); err != nil {
			return err
		}
		return fn(run)
	})
}

// chosen are those of the chosen hosts that an earlier run was over; all of them where the records of an older version don't
// know.
func (f Fleet) chosen(ctx context.Context, run int64) ([]inventory.Host, error) {
	was, err := f.Store.Chosen(ctx, run)
	if err != nil || was == nil {
		return f.Hosts, err
	}
	return slices.DeleteFunc(slices.Clone(f.Hosts), func(h inventory.Host) bool { return !was[h.Name] }), nil
}

// resumeRun is inRun for a run that began earlier.
func (f Fleet) resumeRun(ctx context.Context, run int64, fn func(run int64) error) error {
	if err := f.Store.ResumeRun(ctx, run); err != nil {
		return err
	}
	f.began(run)
	err := fn(run)
	return errors.Join(err, f.endRun(ctx, run, err))
}

// endRun records how a run ended. Failed hosts, and changes that a dry run found, are no failure of the run.
func (f Fleet) endRun(ctx context.Context, run int64, err error) error {
	state := store.StateDone
	switch {
	case ctx.Err() != nil:
		state = store.StateInterrupted
	case err != nil && !errors.Is(err, outcome.ErrChanges) && !errors.Is(err, outcome.ErrHostsFailed):
		state = store.StateFailed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return f.Store.EndRun(ctx, run, state)
}

// lastRun is the newest run of a command.
func (f Fleet) lastRun(ctx context.Context, command string) (store.Run, error) {
	runs, err := f.Store.Runs(ctx, 1000)
	if err != nil {
		return store.Run{}, err
	}
	for _, r := range runs {
		if r.Command == command {
			return r, nil
		}
	}
	return store.Run{}, &outcome.InputError{Msg: fmt.Sprintf("there is no earlier %s in these records", command)}
}

// record is what the records know of a host; nothing is no error.
func (f Fleet) record(ctx context.Context, host string) (store.Record, error) {
	rec, err := f.Store.Record(ctx, host)
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{Host: host}, nil
	}
	return rec, err
}

// recordedToken is the token that a host was assigned to by an earlier run, which put its rule there; "" for none.
func (f Fleet) recordedToken(ctx context.Context, host string) string {
	r, err := f.Store.Record(ctx, host)
	if err != nil || r.Accepted == nil || r.TokenEK != r.Accepted.EKHash {
		return ""
	}
	return r.Token
}

// acceptedHash is the EKPub hash that a host has a rule for; "" for none.
func (f Fleet) acceptedHash(ctx context.Context, host string) string {
	rec, err := f.Store.Record(ctx, host)
	if err != nil || rec.Accepted == nil {
		return ""
	}
	return rec.Accepted.EKHash
}
