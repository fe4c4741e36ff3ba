package enroll

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
)

// recordTime is how long the records may take to note what happened to hosts, also when the run was interrupted.
const recordTime = time.Minute

// remember keeps in the records what has to be done on the hosts, and how they are reached, until it is done: whatever
// becomes of the controller or of the inventory, a later run finds it.
func (r *removal) remember(ctx context.Context, run int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	for _, l := range r.leaving {
		if !l.known || l.visit == "" && l.rec.Installed == nil || r.opts.Offline && l.rec.Installed == nil {
			continue
		}
		if err := r.note(ctx, run, l); err != nil {
			return err
		}
	}
	return nil
}

// note marks one host as one that waits for its removal.
func (r *removal) note(ctx context.Context, run int64, l *leaving) error {
	in := store.Installed{}
	if l.rec.Installed != nil {
		in = *l.rec.Installed
	}
	in.Run, in.State, in.Step = run, store.HostRemoving, "removal"
	if l.listed {
		in.Vars = reachVars(*l.host)
	}
	l.rec.Installed = &in
	return r.Store.SetInstalled(ctx, l.name, &in)
}

// conclude forgets the hosts whose removal came to its end, and notes of the others how far it came.
func (r *removal) conclude(ctx context.Context, run int64, results []outcome.Result) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	ended := map[string]outcome.Result{}
	for _, res := range results {
		ended[res.Host] = res
	}
	var gone []string
	var errs []error
	clean := map[string]bool{} // EKs of hosts that have no token any more
	for _, l := range r.leaving {
		res, visited := ended[l.visit]
		switch {
		case visited && (res.Bad() || res.Outcome == outcome.Canceled):
			errs = append(errs, r.keep(ctx, run, l, res))
		case !visited && l.rec.Installed != nil: // nobody was there
			r.Watcher.Note(UndoPending{Host: l.name})
		case l.known:
			gone = append(gone, l.name)
		}
		for _, m := range l.eks {
			clean[m.EKHash] = clean[m.EKHash] || visited && !res.Bad() && res.Outcome != outcome.Canceled
		}
		if r.opts.Offline && l.rec.Installed == nil {
			r.Watcher.Note(RuleGone{Host: l.name})
		}
	}
	if len(gone) > 0 {
		errs = append(errs, r.Store.Forget(ctx, gone...))
	}
	return errors.Join(append(errs, r.endWays(ctx, clean))...)
}

// endWays notes that machines are configured with no token any more.
func (r *removal) endWays(ctx context.Context, eks map[string]bool) error {
	var ended []store.Way
	for w, err := range r.Store.Ways(ctx) {
		if err != nil {
			return err
		}
		if eks[w.EKHash] {
			ended = append(ended, w)
		}
	}
	if len(ended) == 0 {
		return nil
	}
	return r.Store.DropWays(ctx, ended...)
}

// keep notes how the visit of a host ended that still has to be made.
func (r *removal) keep(ctx context.Context, run int64, l *leaving, res outcome.Result) error {
	_, err := r.Store.Put(ctx, store.Observation{
		Host: l.name, Run: run, At: time.Now().UTC(), Outcome: string(res.Outcome), Status: string(res.Code), Message: res.Message,
	})
	if err != nil || l.known {
		return err
	}
	return r.note(ctx, run, l) // the records know it from now on
}

// addPending takes the hosts whose removal did not come to its end.
func (c *choice) addPending() {
	for name, rec := range c.records {
		if isPending(rec, c.out) {
			c.take(name)
		}
	}
}

// isPending says whether a host waits for the end of its removal. One that was let in again does not, and neither does
// one that has another EK by now.
func isPending(rec store.Record, out map[string]store.Machine) bool {
	if rec.Installed == nil || rec.Installed.State != store.HostRemoving || rec.Pending != nil {
		return false
	}
	if rec.Accepted == nil {
		return true
	}
	return out[rec.Accepted.EKHash].State == store.Removed
}

// resumeRemovals completes removals that an earlier run could not, as far as the hosts can be reached now. What cannot
// be done is noted, and stays for the next time: that is no failure of the run that tries it in passing.
func (f Fleet) resumeRemovals(ctx context.Context, run int64, reach work.Reach) ([]outcome.Result, error) {
	r := &removal{Fleet: f, opts: RemoveOptions{Resume: true}}
	if err := r.choose(ctx); err != nil || len(r.visits()) == 0 {
		return nil, err
	}
	report, err := r.visitAll(ctx, run, reach)
	if errors.Is(err, outcome.ErrHostsFailed) {
		err = nil
	}
	for _, res := range report.Results {
		if res.Bad() {
			r.Watcher.Note(UndoPending{Host: res.Host})
		}
	}
	return report.Results, errors.Join(err, r.conclude(ctx, run, report.Results))
}

// pendingRemovals are the hosts whose removal did not come to its end, by name.
func (f Fleet) pendingRemovals(ctx context.Context) ([]string, error) {
	c := &choice{removal: &removal{Fleet: f}}
	if err := c.read(ctx); err != nil {
		return nil, err
	}
	var pending []string
	for _, name := range slices.Sorted(maps.Keys(c.records)) {
		if isPending(c.records[name], c.out) {
			pending = append(pending, name)
		}
	}
	return pending, nil
}

// addPending says in a status which hosts wait for the end of their removal, those that left the inventory, too.
func (f Fleet) addPending(ctx context.Context, rep *StatusReport) error {
	pending, err := f.pendingRemovals(ctx)
	if err != nil {
		return err
	}
	for _, name := range pending {
		s := HostStatus{Host: name, State: outcome.StateUndoPending, Reason: outcome.Reason{
			Message: "its removal did not come to its end", Hint: outcome.Lookup(outcome.StateUndoPending).Do}}
		if i := slices.IndexFunc(rep.Hosts, func(h HostStatus) bool { return h.Host == name }); i >= 0 {
			s.EKHash, s.Since = rep.Hosts[i].EKHash, rep.Hosts[i].Since
			rep.Hosts[i] = s
			continue
		}
		rep.Hosts = append(rep.Hosts, s)
	}
	return nil
}

// Secrets are known by the names of variables, and in the arguments of ssh by what is given to a helper of it.
var (
	secretName = regexp.MustCompile(`(?i)pass|secret|token|credential|private_key$|api_key`)
	secretArg  = regexp.MustCompile(`(?i)sshpass|(passw(or)?d|passphrase|secret|token|credential)[=: ]`)
)

// reachVars are the variables of a host by which it is reached and told from the others, without secrets.
func reachVars(h inventory.Host) map[string]any {
	vars := map[string]any{}
	for name := range h.Vars {
		v, err := h.Var(name)
		if err != nil || v.Secret {
			continue // what was decrypted is kept nowhere
		}
		if kept, ok := keptVar(name, v.Value); ok {
			vars[name] = kept
		}
	}
	return vars
}

// keptVar is a variable as it is kept. Numbers become texts, which mean the same here and survive JSON.
func keptVar(name string, value any) (any, bool) {
	settings, isMap := value.(map[string]any)
	if name == "tbot" && isMap {
		return keptSettings(settings), true
	}
	ours := name == "tpm_device" || name == "fleetctl_same_as"
	if !ours && !strings.HasPrefix(name, "ansible_") || secretName.MatchString(name) {
		return nil, false
	}
	switch v := value.(type) {
	case string:
		return v, !secretArg.MatchString(v)
	case int:
		return strconv.Itoa(v), true
	case bool:
		return v, true
	}
	return nil, false // nothing that a connection is made of: encrypted, for one
}

// keptSettings are settings of a tbot that say where it is on the host.
func keptSettings(settings map[string]any) map[string]any {
	kept := map[string]any{}
	for _, key := range []string{"user", "group", "binary", "config", "storage", "device"} {
		if v, ok := settings[key].(string); ok {
			kept[key] = v
		}
	}
	return kept
}
