package enroll

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// reboots starts a host anew: /run is empty, and systemd starts what is enabled.
func (l *lab) reboots(name string) {
	l.with(name, func(s *enrolltest.State) {
		delete(s.Files, "/run/fleetctl-tbot.pending")
	})
	l.host[name].Tick()
}

// TestASecondEnrollIsNotOkWithoutAJoin: the first one fails, the host reboots, and there is nothing left to change.
func TestASecondEnrollIsNotOkWithoutAJoin(t *testing.T) {
	t.Parallel()
	for _, verify := range []string{"", config.VerifyHost} {
		t.Run("cluster.verify: "+verify, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			l.Config.Cluster.Verify = verify
			if _, err := l.enroll(func(o *EnrollOptions) { o.TokensOnly = true }); err != nil {
				t.Fatal(err)
			}
			l.host["web-01"].Cluster = memcluster.NewCluster(t, tbotHere) // it has no rule there
			report, err := l.enroll()
			l.check("first run", report.Results, err, "web-01 failed token-missing", outcome.ErrHostsFailed)
			l.host["web-01"].Cluster = l.cluster
			l.reboots("web-01")
			l.with("web-01", func(s *enrolltest.State) { s.Service.Journal = nil }) // and nothing says that it joined
			l.cluster.Before = noJoins(true)
			report, err = l.enroll()
			l.check("second run", report.Results, err, "web-01 failed join-unknown", outcome.ErrHostsFailed)
			if in := l.record("web-01").Installed; in.JoinedBy("fleet") {
				t.Errorf("installed %+v", in)
			}
			l.cluster.Before = nil
			report, err = l.enroll()
			want := map[string]string{"": "web-01 ok", config.VerifyHost: "web-01 failed join-unknown"}[verify]
			l.check("the cluster shows its join", report.Results, err, want, map[bool]error{true: outcome.ErrHostsFailed}[verify != ""])
			if in := l.record("web-01").Installed; in.JoinedBy("fleet") != (verify == "") {
				t.Errorf("installed %+v", in)
			}
		})
	}
}

// noJoins lets the cluster refuse to say who joined.
func noJoins(refuse bool) func(memcluster.Command) error {
	return func(c memcluster.Command) error {
		if refuse && asksJoins(c) {
			return errors.New("connection refused")
		}
		return nil
	}
}

// TestAJoinOfLongAgoIsNotOk: a tbot that renews no more is active for as long as it likes.
func TestAJoinOfLongAgoIsNotOk(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	now := time.Now().Add(-90 * 24 * time.Hour)
	l.cluster.Now = func() time.Time { return now }
	l.enrolled()
	now = time.Now()
	l.with("web-01", func(s *enrolltest.State) {
		for i := range s.Service.Journal {
			s.Service.Journal[i].At = s.Service.Journal[i].At.Add(-90 * 24 * time.Hour)
		}
	})
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed join-unknown", outcome.ErrHostsFailed)
	rep, err := Status(t.Context(), l.Fleet, nil)
	if got := states(rep); got != "web-01 join-stale" || !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("%s, %v", got, err)
	}
	l.Config.Cluster.Verify = config.VerifyHost
	rep, err = Status(t.Context(), l.Fleet, nil)
	if got := states(rep); got != "web-01 unverified" || !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("by the host's word: %s, %v", got, err)
	}
}

// TestWhatCouldNotBeAskedIsNotVerified: exit code 3, and nothing is known of the joins.
func TestWhatCouldNotBeAskedIsNotVerified(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.cluster.Before = noJoins(true)
	report, err := l.enroll()
	l.check("changed", report.Results, err, "web-01 failed unverified, web-02 failed unverified", outcome.ErrHostsFailed)
	if in := l.record("web-01").Installed; in.JoinedBy("fleet") || in.ChangedRun != report.Run {
		t.Errorf("installed %+v", in)
	}
	if n := heard[HostRefused](l); len(n) != 2 || n[0].Result.Code != outcome.StateUnverified {
		t.Errorf("notes %+v", n)
	}
	report, err = l.enroll()
	l.check("unchanged", report.Results, err, "web-01 failed unverified, web-02 failed unverified", outcome.ErrHostsFailed)
	l.cluster.Before = nil
	report, err = l.enroll(func(o *EnrollOptions) { o.Resume = true })
	l.check("resumed", report.Results, err, "web-01 ok, web-02 ok", nil)
	if in := l.record("web-01").Installed; !in.JoinedBy("fleet") || in.JoinedRun != report.Run {
		t.Errorf("installed %+v", in)
	}
}

// TestWhoHasToSayThatAHostJoined has what fleet.yaml asks for, and what was asked.
func TestWhoHasToSayThatAHostJoined(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  func(*lab)
		install bool // hosts alone
		joined  string
		known   bool // that it joined, in the records
	}{
		{"the cluster", func(*lab) {}, false, "journal+cluster", true},
		{"the host", func(l *lab) { l.Config.Cluster.Verify = config.VerifyHost }, false, "journal", true},
		{"nobody", func(l *lab) { l.Config.Cluster.Verify = config.VerifyNone }, false, "", false},
		{"the host, where the cluster keeps no joins", func(l *lab) { l.cluster.Version = "16.4.5" }, false, "journal", true},
		{"the host, where hosts alone are done", func(l *lab) { l.Config.Cluster.Verify = config.VerifyFull }, true, "journal", true},
		{"nobody, where hosts alone are done", func(l *lab) { l.Config.Cluster.Verify = config.VerifyNone }, true, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			if _, err := l.enroll(func(o *EnrollOptions) { o.TokensOnly = true }); err != nil {
				t.Fatal(err)
			}
			tt.change(l)
			mark := len(l.cluster.Commands())
			report, err := l.enroll(func(o *EnrollOptions) { o.InstallOnly = tt.install })
			l.check("enroll", report.Results, err, "web-01 changed", nil)
			if got := report.Results[0].Joined; got != tt.joined || l.record("web-01").Installed.JoinedBy("fleet") != tt.known {
				t.Errorf("joined %q, installed %+v", got, l.record("web-01").Installed)
			}
			if asked := slices.ContainsFunc(l.cluster.Commands()[mark:], asksJoins); asked != strings.Contains(tt.joined, "cluster") {
				t.Errorf("the cluster was asked who joined: %v", asked)
			}
			notes := heard[JoinsVerified](l)
			if tt.joined != "" && (len(notes) != 1 || notes[0].By[tt.joined] != 1) || tt.joined == "" && len(notes) > 0 {
				t.Errorf("notes %+v", notes)
			}
		})
	}
}

// TestTheRecordsForgetAJoinBeforeTheHostIsChanged: whatever becomes of the run, the join is not one of the new tbot.
func TestTheRecordsForgetAJoinBeforeTheHostIsChanged(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	if in := l.record("web-01").Installed; !in.JoinedBy("fleet") || in.JoinedBy("fleet-2") {
		t.Fatalf("installed %+v", in)
	}
	l.Config.Tbot.Services = []map[string]any{identityIn("/opt/machine-id/app")}
	var seen atomic.Pointer[store.Installed]
	l.breaks(func(e enrolltest.Event) error {
		if e.Kind == "file" && e.What == "/etc/tbot.yaml" {
			seen.Store(l.record("web-01").Installed)
			return enrolltest.ErrDrop
		}
		return nil
	})
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 unreachable disconnected", outcome.ErrHostsFailed)
	at := seen.Load()
	if at == nil || at.State != store.HostApplying || at.ChangedRun != report.Run || at.JoinedRun != 0 || at.JoinedBy("fleet") {
		t.Errorf("before the file was written: %+v", at)
	}
	if in := l.record("web-01").Installed; in.JoinedBy("fleet") || in.JoinedAt == nil {
		t.Errorf("afterwards: %+v", in)
	}
	l.breaks(nil)
	l.enrolled()
	if in := l.record("web-01").Installed; !in.JoinedBy("fleet") {
		t.Errorf("at last: %+v", in)
	}
}
