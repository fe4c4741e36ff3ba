package enroll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"fleetctl/enroll/child"
	"fleetctl/enroll/config"
	"fleetctl/enroll/halt"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// HookSchema names what a hook reads.
const HookSchema = "fleetctl/hook/v1"

// HookInput is what a hook reads.
type HookInput struct {
	Schema string               `json:"schema"` // HookSchema
	Hook   string               `json:"hook"`   // before_run, after_run, before_host, after_host
	Run    int64                `json:"run,omitempty"`
	Hosts  []string             `json:"hosts,omitempty"`  // of a run
	Recap  *outcome.Summary     `json:"recap,omitempty"`  // after a run
	Host   string               `json:"host,omitempty"`   // of a host
	Groups []string             `json:"groups,omitempty"` // of the host
	Vars   map[string]any       `json:"vars,omitempty"`   // of the host, without those that begin with ansible_
	Record *store.Record        `json:"record,omitempty"` // of the host
	Plan   []outcome.StepResult `json:"plan,omitempty"`   // before a host: what will be done
	Result *outcome.Result      `json:"result,omitempty"` // after a host
}

var errHook = errors.New("a hook failed")

// runHook runs a hook; none is fine. It ends with everything that it started.
func runHook(ctx context.Context, command string, in HookInput) error {
	if command == "" {
		return nil
	}
	in.Schema = HookSchema
	raw, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errHook, in.Hook, err)
	}
	cmd := exec.Command("sh", "-c", command) // the user's own command
	cmd.Env = append(os.Environ(), "FLEETCTL_HOOK="+in.Hook, "FLEETCTL_HOST="+in.Host)
	cmd.Stdin = bytes.NewReader(raw)
	out := &child.Tail{Max: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, out
	if err := child.Run(ctx, cmd, child.Options{}); err != nil {
		return fmt.Errorf("%w: %s: %w: %s", errHook, in.Hook, err, remote.Line(remote.Tail(out.String(), 300)))
	}
	return nil
}

// hostHook is what a host's hooks read.
func (e *installation) hostHook(ctx context.Context, hook string, h inventory.Host) HookInput {
	in := HookInput{Hook: hook, Run: e.now.ID, Host: h.Name, Groups: h.Groups, Vars: config.PublicVars(h.Vars)}
	if rec, err := e.Store.Record(ctx, h.Name); err == nil {
		in.Record = &rec
	}
	return in
}

// beforeHost runs the hook that may drain a host; its failure keeps the host from being changed.
func (e *installation) beforeHost(ctx context.Context, c change) error {
	hooks := e.Config.Rollout.Hooks
	if hooks.BeforeHost == "" {
		return nil
	}
	work.At(ctx, work.Hooking)
	in := e.hostHook(ctx, "before_host", c.host)
	in.Plan = e.stepResults(c.steps)
	return runHook(ctx, hooks.BeforeHost, in)
}

// afterHost runs the hook that hears how a host ended, also when the host's time is over.
func (e *installation) afterHost(ctx context.Context, h inventory.Host, r *outcome.Result) {
	hooks := e.Config.Rollout.Hooks
	if hooks.AfterHost == "" {
		return
	}
	ctx, done := halt.Outlive(ctx, time.Minute)
	defer done()
	work.At(ctx, work.Hooking)
	in := e.hostHook(ctx, "after_host", h)
	in.Result = r
	if err := runHook(ctx, hooks.AfterHost, in); err != nil {
		r.Warnings = append(r.Warnings, outcome.Warning{Reason: outcome.Reason{Code: outcome.Hook, Message: remote.Line(err.Error())}})
	}
}

// beforeRun runs the hook of the run.
func (e *installation) beforeRun(ctx context.Context, hosts []inventory.Host) error {
	in := HookInput{Hook: "before_run", Run: e.now.ID, Hosts: names(hosts)}
	return runHook(ctx, e.Config.Rollout.Hooks.BeforeRun, in)
}

func (e *installation) afterRun(ctx context.Context, hosts []inventory.Host, results []outcome.Result) {
	ctx, done := halt.Outlive(ctx, time.Minute)
	defer done()
	s := outcome.Summarize(e.now.ID, results)
	in := HookInput{Hook: "after_run", Run: e.now.ID, Hosts: names(hosts), Recap: &s}
	if err := runHook(ctx, e.Config.Rollout.Hooks.AfterRun, in); err != nil {
		e.Watcher.Note(HookFailed{Err: err})
	}
}
