package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/halt"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/work"
)

// failing lets tbot refuse its configuration on some hosts.
func (l *lab) failing(names ...string) {
	for _, name := range names {
		l.set(name, "tbot", map[string]any{"services": []any{map[string]any{"type": "broken"}}})
	}
}

func TestARolloutStops(t *testing.T) {
	t.Parallel()
	const skipped = "web-04 skipped not-started, web-05 skipped not-started, web-06 skipped not-started"
	for _, tt := range []struct {
		name    string
		rollout config.Rollout
		failing []string
		want    string
		why     string
	}{
		{"a canary that fails stops the rest", config.Rollout{Canary: 1, MaxFailures: "100%", Batch: "100%"}, []string{"web-01"},
			"web-01 failed bad-config, web-02 skipped not-started, web-03 skipped not-started, " + skipped, "a canary failed"},
		{"one of two canaries is enough", config.Rollout{Canary: 2, MaxFailures: "100%", Batch: "100%"}, []string{"web-02"},
			"web-01 changed, web-02 failed bad-config, web-03 skipped not-started, " + skipped, "a canary failed"},
		{"more failures than the budget has stop the rest", config.Rollout{MaxFailures: "1", Batch: "1"}, []string{"web-01", "web-03"},
			"web-01 failed bad-config, web-02 changed, web-03 failed bad-config, " + skipped, "2 hosts failed, and rollout.max_failures allows 1"},
		{"no budget at all", config.Rollout{MaxFailures: "0", Batch: "1"}, []string{"web-03"},
			"web-01 changed, web-02 changed, web-03 failed bad-config, " + skipped, "1 hosts failed, and rollout.max_failures allows 0"},
		{"failures within the budget stop nothing", config.Rollout{MaxFailures: "50%", Batch: "50%", Canary: 1}, []string{"web-02", "web-05"},
			"web-01 changed, web-02 failed bad-config, web-03 changed, web-04 changed, web-05 failed bad-config, web-06 changed", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 6)
			l.reach.Forks = 1
			l.Config.Rollout = tt.rollout
			l.failing(tt.failing...)
			trees := map[string]string{}
			for name, h := range l.host {
				trees[name] = h.Tree()
			}
			report, err := l.enroll()
			l.check("enroll", report.Results, err, tt.want, outcome.ErrHostsFailed)
			for _, r := range report.Results {
				if r.Outcome != outcome.Skipped {
					continue
				}
				if !strings.Contains(r.Message, tt.why) {
					t.Errorf("%s: %s, want %s", r.Host, r.Message, tt.why)
				}
				if l.host[r.Host].Tree() != trees[r.Host] {
					t.Errorf("%s was not started, and it changed", r.Host)
				}
			}
			if got := l.runs(); got != "scan done, enroll done" {
				t.Errorf("runs: %s", got)
			}
			left := strings.Count(tt.want, "not-started")
			stopped := heard[RolloutStopped](l)
			if told := left > 0; told != (len(stopped) == 1) || told && (stopped[0].Why != tt.why || stopped[0].Left != left) {
				t.Errorf("told of its end: %+v, want %q with %d left", stopped, tt.why, left)
			}
			last := l.heard.paces[len(l.heard.paces)-1]
			if failed := strings.Count(tt.want, "failed"); last.Failed != failed || last.Proven > tt.rollout.Canary {
				t.Errorf("the last that was told: %+v, of %d failures", last, failed)
			}
		})
	}
}

// A person hears which canaries there are, which batch is begun, and what is done about each host.
func TestARolloutTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5)
	l.reach.Forks = 1
	l.Config.Rollout = config.Rollout{Canary: 1, Batch: "2", MaxFailures: "2"}
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 changed, web-02 changed, web-03 changed, web-04 changed, web-05 changed", nil)
	want := []work.Pace{
		{Canaries: 1, Budget: 2}, {Canaries: 1, Proven: 1, Budget: 2}, {Batches: 2, Budget: 2}, {Batch: 1, Batches: 2, Budget: 2},
		{Batch: 2, Batches: 2, Budget: 2},
	}
	if !slices.Equal(l.heard.paces, want) {
		t.Errorf("told: %+v", l.heard.paces)
	}
	for _, doing := range []work.Doing{work.Changing, work.Looking, work.Joining} {
		if !slices.Contains(l.heard.doing, "web-05: "+string(doing)) {
			t.Errorf("nobody heard that web-05 is at %q: %v", doing, l.heard.doing)
		}
	}
}

// A dry run in which no host takes part is one all the same.
func TestADryRunOverHostsThatAreAllRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.with("web-01", func(s *enrolltest.State) { s.Down = true })
	report, err := l.enroll(func(o *EnrollOptions) { o.Check = true })
	l.check("dry run", report.Results, err, "web-01 unreachable disconnected", outcome.ErrHostsFailed)
}

func TestARolloutDrainsWhenItIsToldToStop(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	l.reach.Forks = 1
	ctx, stop := halt.New(t.Context())
	l.heard.onHost = func(r outcome.Result) {
		if r.Host == "web-02" && len(r.Steps) > 0 {
			stop.Ask()
		}
	}
	report, err := l.enrollIn(ctx)
	l.check("enroll", report.Results, err,
		"web-01 changed, web-02 changed, web-03 canceled canceled, web-04 canceled canceled", context.Canceled)
	if m := report.Results[2].Message; m != "not started: interrupted" || l.record("web-03").Installed != nil {
		t.Errorf("web-03: %s", m)
	}
	l.heard.onHost = nil
	again, err := l.enroll(func(o *EnrollOptions) { o.Resume = true })
	l.check("resumed", again.Results, err, "web-03 changed, web-04 changed", nil)
}

func TestADryRunNeedsNoCanary(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.Config.Rollout.Canary, l.Config.Rollout.MaxFailures = 1, "0"
	l.with("web-01", func(s *enrolltest.State) { delete(s.Files, "/usr/local/bin/tbot") })
	report, err := l.enroll(func(o *EnrollOptions) { o.Check = true })
	l.check("dry run", report.Results, err, "web-01 failed no-tbot, web-02 changed, web-03 changed", outcome.ErrHostsFailed)
}

func TestGroupsComeInTheOrderOfFleetYAML(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	l.reach.Forks = 1
	l.Groups = []string{"all", "canaries", "databases"}
	l.Inventory[1].Groups, l.Inventory[3].Groups = []string{"databases"}, []string{"canaries", "databases"}
	l.Config.Rollout.Order = []string{"canaries", "databases"}
	if _, err := l.enroll(func(o *EnrollOptions) { o.TokensOnly = true }); err != nil {
		t.Fatal(err)
	}
	l.heard.forget()
	report, err := l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
	l.check("enroll", report.Results, err, "web-01 changed, web-02 changed, web-03 changed, web-04 changed", nil)
	if got := l.heard.order(); got != "web-04 web-02 web-01 web-03" {
		t.Errorf("order %s", got)
	}
}

// hook is a command that keeps what it reads in a file, one a call.
func hook(dir, name string) string {
	return `cat >"` + filepath.Join(dir, name) + `.$FLEETCTL_HOST"; test "$FLEETCTL_HOOK" = ` + name
}

// heardHook is what a hook read.
func heardHook(t *testing.T, dir, name, host string) (in HookInput) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name+"."+host))
	if err == nil {
		err = json.Unmarshal(raw, &in)
	}
	if err != nil {
		t.Fatal(err)
	}
	if in.Hook != name {
		t.Errorf("%s was told that it is %s", name, in.Hook)
	}
	return in
}

func TestHooksHearOfTheRunAndOfEveryHost(t *testing.T) {
	t.Parallel()
	l, dir := newLab(t, 2), t.TempDir()
	l.Config.Rollout.Hooks = config.Hooks{BeforeRun: hook(dir, "before_run"), AfterRun: hook(dir, "after_run"),
		BeforeHost: hook(dir, "before_host"), AfterHost: hook(dir, "after_host")}
	l.set("web-01", "rack", "r1")
	l.Inventory[0].Groups = []string{"web"}
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 changed, web-02 changed", nil)
	all := []string{"web-01", "web-02"}
	if in := heardHook(t, dir, "before_run", ""); !slices.Equal(in.Hosts, all) || in.Run != report.Run || in.Recap != nil {
		t.Errorf("before the run: %+v", in)
	}
	if in := heardHook(t, dir, "after_run", ""); !slices.Equal(in.Hosts, all) || in.Recap == nil || in.Recap.Counts[outcome.Changed] != 2 {
		t.Errorf("after the run: %+v", in)
	}
	in := heardHook(t, dir, "before_host", "web-01")
	if in.Host != "web-01" || !slices.Equal(in.Groups, []string{"web"}) || in.Vars["rack"] != "r1" || in.Vars["ansible_host"] != nil ||
		in.Record == nil || in.Record.Accepted.EKHash != l.host["web-01"].TPM.EKHash() || len(in.Plan) < 10 || in.Result != nil {
		t.Errorf("before the host: %+v", in)
	}
	if in := heardHook(t, dir, "after_host", "web-02"); in.Result == nil || in.Result.Outcome != outcome.Changed || in.Result.Joined != "journal" {
		t.Errorf("after the host: %+v", in)
	}
	l.Config.Rollout.Hooks = config.Hooks{BeforeHost: "false"}
	report, err = l.enroll()
	l.check("where nothing will be changed nothing has to be drained", report.Results, err, "web-01 ok, web-02 ok", nil)
}

func TestHooksThatFail(t *testing.T) {
	t.Parallel()
	const no = "echo the load balancer says no >&2; exit 3"
	t.Run("before the run: nothing is begun", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, 2)
		l.Config.Rollout.Hooks.BeforeRun = no
		trees := l.trees()
		report, err := l.enroll()
		l.check("enroll", report.Results, err, "", errHook)
		if l.trees() != trees || !strings.Contains(err.Error(), "load balancer says no") || l.runs() != "scan done, enroll failed" {
			t.Errorf("%v; runs %s", err, l.runs())
		}
	})
	t.Run("before a host: that host is not begun", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, 2)
		l.Config.Rollout.Hooks.BeforeHost = `test "$FLEETCTL_HOST" != web-01 || { ` + no + `; }`
		tree := l.host["web-01"].Tree()
		report, err := l.enroll()
		l.check("enroll", report.Results, err, "web-01 failed hook, web-02 changed", outcome.ErrHostsFailed)
		r := report.Results[0]
		if !strings.Contains(r.Message, "load balancer says no") || r.Hint != "nothing was changed on the host" || l.host["web-01"].Tree() != tree {
			t.Errorf("%+v", r)
		}
	})
	t.Run("after a host: a warning", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, 1)
		l.Config.Rollout.Hooks.AfterHost = no
		report, err := l.enroll()
		l.check("enroll", report.Results, err, "web-01 changed", nil)
		if got := warnings(report.Results[0]); !slices.Equal(got, []outcome.Code{outcome.Hook}) {
			t.Errorf("warnings %v", got)
		}
	})
	t.Run("after the run: a note", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, 1)
		l.Config.Rollout.Hooks.AfterRun = no
		report, err := l.enroll()
		l.check("enroll", report.Results, err, "web-01 changed", nil)
		if notes := heard[HookFailed](l); len(notes) != 1 || !errors.Is(notes[0].Err, errHook) {
			t.Errorf("notes %+v", notes)
		}
	})
}
