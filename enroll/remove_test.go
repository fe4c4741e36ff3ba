package enroll

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/host/diff"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// gone says whether the records know nothing of a host any more.
func (l *lab) gone(name string) bool {
	l.t.Helper()
	_, err := l.Store.Record(l.t.Context(), name)
	return errors.Is(err, store.ErrNotFound)
}

func TestARemovalPutsEverythingBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(*lab)
	}{
		{"a host that had nothing", func(*lab) {}},
		{"a host that had the accounts", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) {
				s.Groups["teleport"], s.Groups["tss"] = 500, 501
				s.Users["teleport"] = &enrolltest.User{UID: 500, Group: "teleport", Home: "/", Shell: "/bin/sh"}
			})
		}},
		{"a host whose TPM belonged to somebody else", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) {
				s.Groups["tpm"] = 400
				f := s.Files[s.Device]
				f.Mode, f.Group = 0o640, "tpm"
			})
		}},
		{"tbot as root", func(l *lab) { l.Config.Tbot.User, l.Config.Tbot.Group = "root", "root" }},
		{"outputs and a storage of one's own", func(l *lab) {
			l.Config.Tbot.Storage = "/var/lib/tbot/state"
			l.Config.Tbot.Services = []map[string]any{identityIn("/opt/machine-id/app"), identityIn("/opt/machine-id/db")}
		}},
		{"a host without systemd", func(l *lab) { l.with("web-01", func(s *enrolltest.State) { s.Systemd = 0 }) }},
		{"a host without udev", func(l *lab) { l.with("web-01", func(s *enrolltest.State) { s.Udev = false }) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			tt.before(l)
			before := l.host["web-01"].Tree()
			l.enrolled()
			if l.host["web-01"].Tree() == before {
				t.Fatal("the enroll changed nothing")
			}
			other := l.host["web-02"].Tree()
			report, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("removal", report.Results, err, "web-01 changed", nil)
			if r := report.Results[0]; r.Took <= 0 || len(r.Steps) == 0 || report.Run == 0 {
				t.Errorf("run %d, result %+v", report.Run, r)
			}
			if after := l.host["web-01"].Tree(); after != before {
				t.Errorf("it left something:\n%s", diff.Unified(before, after))
			}
			if l.host["web-02"].Tree() != other {
				t.Error("the other host was changed")
			}
			if got := l.cluster.Rules("fleet"); !slices.Equal(got, []string{l.host["web-02"].TPM.EKHash()}) || !l.gone("web-01") {
				t.Errorf("rules %v, record gone: %v", got, l.gone("web-01"))
			}
			if got := strings.Join(l.heard.stages[len(l.heard.stages)-2:], ", "); got != "remove 1, end" {
				t.Errorf("stages %v", l.heard.stages)
			}
			again, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("a second time", again.Results, err, "web-01 ok", nil)
			if after := l.host["web-01"].Tree(); after != before {
				t.Errorf("the second removal changed something:\n%s", diff.Unified(before, after))
			}
			if got := l.runs(); got != "scan done, enroll done, remove done, remove done" {
				t.Errorf("runs: %s", got)
			}
		})
	}
}

func TestARemovalSaysHowLongCredentialsLive(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.Config.Tbot.CredentialTTL = "2h"
	l.choose("web-01")
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01", "web-02", "web-01"}}); err != nil {
		t.Fatal(err)
	}
	notes := heard[CredentialsLive](l)
	if len(notes) != 1 || notes[0].TTL != "2h" || notes[0].Bot != "fleet" || len(notes[0].Instances) != 1 ||
		notes[0].Instances[0].Host != "web-01" || notes[0].Instances[0].Instance == "" {
		t.Errorf("notes %+v", notes)
	}
}

func TestADryRunOfARemovalRemovesNothing(t *testing.T) {
	t.Parallel()
	for _, offline := range []bool{false, true} {
		l := newLab(t, 1)
		l.enrolled()
		l.writes()
		trees, mark, runs := l.trees(), len(l.cluster.Commands()), l.runs()
		report, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Check: true, Diff: true, Offline: offline})
		want := map[bool]string{false: "web-01 changed", true: ""}[offline]
		l.check("dry run", report.Results, err, want, outcome.ErrChanges)
		if !offline && !slices.ContainsFunc(report.Results[0].Steps, func(s outcome.StepResult) bool { return s.Changed }) {
			t.Errorf("steps %+v", report.Results[0].Steps)
		}
		diffs := heard[ClusterDiffers](l)
		if len(diffs) == 0 || !slices.Equal(diffs[len(diffs)-1].Diff.Tokens[0].Removed, []string{"web-01"}) {
			t.Errorf("diffs %+v", diffs)
		}
		if w := l.writes(); len(w) > 0 || l.trees() != trees || l.runs() != runs || l.gone("web-01") {
			t.Errorf("it wrote %v; runs %s", w, l.runs())
		}
		if got := l.asked(mark); slices.Contains(got, "create") || slices.Contains(got, "rm") || slices.Contains(got, "lock") {
			t.Errorf("it asked the cluster to %v", got)
		}
	}
}

func TestALostHostIsRemovedWithoutContact(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	tree := l.host["web-01"].Tree()
	l.writes()
	l.Inventory = l.Inventory[1:] // only the records know web-01 now
	l.Hosts = l.Inventory
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); !errors.Is(err, outcome.ErrInput) || outcome.HintOf(err) == "" {
		t.Errorf("on the host: %v", err)
	}
	if l.gone("web-01") {
		t.Fatal("the refused removal forgot the host")
	}
	report, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Offline: true})
	l.check("offline", report.Results, err, "", nil)
	if notes := heard[UndoPending](l); len(notes) != 1 || notes[0].Host != "web-01" || report.Run == 0 {
		t.Errorf("notes %+v, run %d", notes, report.Run)
	}
	if l.gone("web-01") || l.host["web-01"].Tree() != tree || len(l.events) > 0 {
		t.Errorf("record gone: %v, %d events", l.gone("web-01"), len(l.events))
	}
	if got := l.cluster.Rules("fleet"); !slices.Equal(got, []string{l.host["web-02"].TPM.EKHash()}) {
		t.Errorf("rules %v", got)
	}
	if rep, err := Status(t.Context(), l.Fleet, nil); !strings.Contains(states(rep), "web-01 undo-pending") || !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("status: %s, %v", states(rep), err)
	}
	if err := l.Store.Forget(t.Context(), "web-01"); err != nil { // it is lost for good
		t.Fatal(err)
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestARemovalDoesNotLeaveTheRuleToAnotherName(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	rec, err := l.Store.Record(t.Context(), "web-01")
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Store.Put(t.Context(), store.Observation{Host: "new-name", Run: 9, Outcome: "ok", Identity: rec.Accepted})
	if err != nil {
		t.Fatal(err)
	}
	tree, rules := l.host["web-01"].Tree(), l.cluster.Rules("fleet")
	for _, opts := range []RemoveOptions{{}, {Offline: true}} {
		opts.Names = []string{"web-01"}
		_, err := l.remove(opts)
		if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "new-name presents the EK of web-01") {
			t.Errorf("%+v: %v", opts, err)
		}
		if l.gone("web-01") || l.host["web-01"].Tree() != tree || !slices.Equal(l.cluster.Rules("fleet"), rules) {
			t.Fatalf("%+v: the refused removal removed something", opts)
		}
	}
	report, err := l.remove(RemoveOptions{Names: []string{"web-01", "new-name"}, Offline: true})
	l.check("both", report.Results, err, "", nil)
	if got := l.cluster.Rules("fleet"); !slices.Equal(got, []string{l.host["web-02"].TPM.EKHash()}) {
		t.Errorf("rules %v", got)
	}
}

func TestNamesThatNobodyKnows(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	runs := l.runs()
	for _, names := range [][]string{nil, {"web-99"}, {"web-01", "web-99"}} {
		if _, err := l.remove(RemoveOptions{Names: names}); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%v: %v", names, err)
		}
	}
	if l.gone("web-01") || l.runs() != runs || len(l.cluster.Rules("fleet")) != 1 {
		t.Errorf("something was removed: runs %s", l.runs())
	}
}

func TestARemovalOfHostsThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	l.with("web-01", func(s *enrolltest.State) { s.Down = true })
	l.breaks(func(e enrolltest.Event) error {
		if e.Host == "web-02" && changesHost(e) {
			return errors.New("rm: Read-only file system")
		}
		return nil
	})
	report, err := l.remove(RemoveOptions{Names: []string{"web-01", "web-02", "web-03"}})
	l.check("removal", report.Results, err, "web-01 unreachable disconnected, web-02 failed step-failed, web-03 changed", outcome.ErrHostsFailed)
	if !strings.Contains(report.Results[1].Message, "Read-only") {
		t.Errorf("message: %s", report.Results[1].Message)
	}
	for _, name := range []string{"web-01", "web-02"} {
		if l.machine(name).State != store.Removed || l.record(name).Token != "" {
			t.Errorf("%s may still get a rule: %+v", name, l.record(name))
		}
	}
	if got := l.cluster.Rules("fleet"); len(got) != 0 || !l.gone("web-03") {
		t.Errorf("rules %v, web-03 gone: %v", got, l.gone("web-03"))
	}
}

// TestWhatARemovalDidNotGetToIsTakenAwayByTheNext has a host on which more than accounts would be left: a directory with
// credentials, a device of another group.
func TestWhatARemovalDidNotGetToIsTakenAwayByTheNext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		first  func(*lab) (HostsReport, error)
		want   string
		status string // between the two
	}{
		{"the host is down", func(l *lab) (HostsReport, error) {
			l.with("web-01", func(s *enrolltest.State) { s.Down = true })
			defer l.with("web-01", func(s *enrolltest.State) { s.Down = false })
			return l.remove(RemoveOptions{Names: []string{"web-01"}})
		}, "web-01 unreachable disconnected", "web-01 undo-pending"},
		{"the host dies in the middle", func(l *lab) (HostsReport, error) {
			l.breaks(func(e enrolltest.Event) error {
				if strings.Contains(e.Text, "tbot.yaml") && changesHost(e) {
					return enrolltest.ErrDrop
				}
				return nil
			})
			defer l.breaks(nil)
			return l.remove(RemoveOptions{Names: []string{"web-01"}})
		}, "web-01 unreachable disconnected", "web-01 undo-pending"},
		{"the cluster does not take it", func(l *lab) (HostsReport, error) {
			l.cluster.Before = func(c memcluster.Command) error {
				if c.Verb == "rm" {
					return errors.New("connection refused")
				}
				return nil
			}
			defer func() { l.cluster.Before = nil }()
			return l.remove(RemoveOptions{Names: []string{"web-01"}})
		}, "", "web-01 undo-pending"},
		{"nobody knows the password", func(l *lab) (HostsReport, error) {
			l.Access = refuseAccess
			defer func() { l.Access = l.access }()
			return l.remove(RemoveOptions{Names: []string{"web-01"}})
		}, "", "web-01 undo-pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			l.Config.Tbot.Services = []map[string]any{identityIn("/opt/machine-id/app")}
			l.with("web-01", func(s *enrolltest.State) {
				s.Groups["tpm"] = 400
				f := s.Files[s.Device]
				f.Mode, f.Group = 0o640, "tpm"
			})
			before := l.host["web-01"].Tree()
			l.enrolled()
			report, err := tt.first(l)
			if told(report.Results) != tt.want || err == nil {
				t.Errorf("first removal: %s, %v", told(report.Results), err)
			}
			if made, err := l.tokens(TokensOptions{Apply: true}); err != nil || made.Set.TokenOf("web-01") != "" || len(l.cluster.Rules("fleet")) > 0 {
				t.Errorf("it has a rule: %v, %v", made.Set.Assignment(), err)
			}
			if rep, err := Status(t.Context(), l.Fleet, nil); states(rep) != tt.status || !errors.Is(err, outcome.ErrHostsFailed) ||
				!strings.Contains(rep.Hosts[0].Hint, "remove") {
				t.Errorf("status: %+v, %v", rep.Hosts, err)
			}
			report, err = l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("second removal", report.Results, err, "web-01 changed", nil)
			if after := l.host["web-01"].Tree(); after != before || !l.gone("web-01") {
				t.Errorf("it left something (record gone: %v):\n%s", l.gone("web-01"), diff.Unified(before, after))
			}
		})
	}
}

// TestWhatWasMadeIsKnownWhileItIsTakenAway: a controller that is killed leaves it to the next removal.
func TestWhatWasMadeIsKnownWhileItIsTakenAway(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	made := l.record("web-01").Installed.Made
	asked := 0
	l.host["web-01"].Before = func(enrolltest.Event) error {
		asked++
		rec, err := l.Store.Record(t.Context(), "web-01")
		if err != nil || rec.Token != "" || rec.Installed == nil || rec.Installed.State != store.HostRemoving ||
			!slices.Equal(rec.Installed.Made, made) {
			t.Errorf("%+v, %v", rec, err)
		}
		return nil
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil || asked == 0 || len(made) == 0 || !l.gone("web-01") {
		t.Errorf("%v, asked %d times, made %v", err, asked, made)
	}
}

func TestARemovalThatIsRefusedByTheHost(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.set("web-01", "ansible_become_user", "admin")
	report, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("removal", report.Results, err, "web-01 failed become-failed", outcome.ErrHostsFailed)
}

func TestARemovalThatTheClusterDoesNotTake(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	trees := l.trees()
	l.cluster.Before = func(c memcluster.Command) error {
		if c.Verb == "create" || c.Verb == "rm" {
			return errors.New("connection refused")
		}
		return nil
	}
	_, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	if err == nil || !strings.Contains(err.Error(), "the rules may still be in the cluster") || outcome.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if l.trees() != trees || l.runs() != "scan done, enroll done, remove failed" {
		t.Errorf("a host was touched, or runs %s", l.runs())
	}
	l.cluster.Before = func(memcluster.Command) error { return errors.New("connection refused") }
	if _, err := l.remove(RemoveOptions{Names: []string{"web-02"}}); err == nil || l.gone("web-02") {
		t.Errorf("a cluster that does not answer: %v, gone: %v", err, l.gone("web-02"))
	}
	l.cluster.Before = nil
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	if got := l.cluster.Rules("fleet"); !slices.Equal(got, []string{l.host["web-02"].TPM.EKHash()}) {
		t.Errorf("after the next run that applies: %v", got)
	}
}

func TestARemovalThatIsInterrupted(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.reach.Forks = 1
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.heard.onHost = func(outcome.Result) { cancel() }
	report, err := Remove(ctx, l.Fleet, RemoveOptions{Names: []string{"web-01", "web-02"}, Out: l.out, Yes: true})
	l.check("removal", report.Results, err, "web-01 changed, web-02 canceled canceled", context.Canceled)
	if got := l.runs(); got != "scan done, enroll done, remove interrupted" {
		t.Errorf("runs: %s", got)
	}
	l.Access = refuseAccess
	if _, err := l.remove(RemoveOptions{Names: []string{"web-02"}}); !errors.Is(err, errNoAccess) {
		t.Errorf("without access: %v", err)
	}
}

func TestRecordsThatFailInARemoval(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	trees := l.trees()
	l.sick(func(call string) error {
		if call == "installed web-01" {
			return errSick
		}
		return nil
	})
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); !errors.Is(err, errSick) {
		t.Errorf("%v", err)
	}
	if l.trees() != trees || len(l.cluster.Rules("fleet")) != 1 {
		t.Error("something was removed")
	}
}
