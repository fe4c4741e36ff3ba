package enroll

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/inventory"
)

// states are what a status says of hosts: "web-01 healthy, web-02 drifted".
func states(rep StatusReport) string {
	var out []string
	for _, h := range rep.Hosts {
		out = append(out, h.Host+" "+string(h.State))
	}
	return strings.Join(out, ", ")
}

func TestStatusSaysHowAHostIs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*lab) // of web-01, after the enroll
		state  outcome.Code
		says   string // a part of message, hint or drift
		err    error
	}{
		{"nothing happened to it", func(*lab) {}, outcome.StateHealthy, "", nil},
		{"somebody edited the configuration", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) {
				f := s.Files["/etc/tbot.yaml"]
				f.Content = append(slices.Clone(f.Content), "# mine\n"...)
			})
		}, outcome.StateDrifted, "/etc/tbot.yaml", outcome.ErrChanges},
		{"its rule is gone from the token", func(l *lab) {
			l.foreignOnly(l.host["web-02"].TPM.EKHash(), "web-02")
		}, outcome.StateDrifted, "rule in the cluster: there is none in token fleet", outcome.ErrChanges},
		{"its rule has another description", func(l *lab) {
			l.foreignOnly(l.host["web-01"].TPM.EKHash(), "old")
		}, outcome.StateDrifted, `rule in the cluster: description: "old" → "web-01"`, outcome.ErrChanges},
		{"an earlier run stopped half-way", func(l *lab) {
			in := *l.record("web-01").Installed
			in.State, in.Step = store.HostApplying, "/etc/tbot.yaml"
			if err := l.Store.SetInstalled(l.t.Context(), "web-01", &in); err != nil {
				l.t.Fatal(err)
			}
		}, outcome.StateUnfinished, "an earlier run stopped at: /etc/tbot.yaml", outcome.ErrHostsFailed},
		{"tbot was stopped", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.Service.State = "inactive" })
		}, outcome.StateUnhealthy, "tbot.service is inactive", outcome.ErrHostsFailed},
		{"tbot itself says that it is not ready", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.Service.Unhealthy = map[string]string{"identity-output-1": "disk full"} })
		}, outcome.StateUnhealthy, "identity-output-1 is unhealthy (disk full)", outcome.ErrHostsFailed},
		{"its TPM went away", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { delete(s.Files, s.Device); s.Sysfs = false })
		}, outcome.StateBroken, "no TPM", outcome.ErrHostsFailed},
		{"nobody becomes root there any more", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.Sudo.Denied = true })
		}, outcome.StateBroken, "sudo", outcome.ErrHostsFailed},
		{"it is down", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.Down = true })
		}, outcome.StateUnreachable, "", outcome.ErrHostsFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.Config.Tbot.DiagAddr = "127.0.0.1:3001"
			l.enrolled()
			tt.change(l)
			l.writes()
			l.heard.forget()
			trees, runs, mark := l.trees(), l.runs(), len(l.cluster.Commands())
			rep, err := Status(t.Context(), l.Fleet, nil)
			if !errors.Is(err, tt.err) || tt.err == nil && err != nil {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if got, want := states(rep), "web-01 "+string(tt.state)+", web-02 healthy"; got != want {
				t.Fatalf("got %s, want %s\n%+v", got, want, rep.Hosts[0])
			}
			h := rep.Hosts[0]
			if said := h.Message + h.Hint + strings.Join(h.Drift, ", "); !strings.Contains(said, tt.says) {
				t.Errorf("it says %q, want %q", said, tt.says)
			}
			if h.EKHash != l.host["web-01"].TPM.EKHash() || h.Since == nil || rep.Counts[tt.state] == 0 || rep.Counts[outcome.StateHealthy] == 0 {
				t.Errorf("%+v, counts %v", h, rep.Counts)
			}
			well := rep.Hosts[1]
			if well.Joined == nil || well.Tbot != tbotHere || well.Token != "fleet" || well.Service != "active" || well.Ready != "200" {
				t.Errorf("the healthy one: %+v", well)
			}
			if w := l.writes(); len(w) > 0 || l.trees() != trees || l.runs() != runs || !slices.Equal(l.asked(mark), []string{"get", "status"}) {
				t.Errorf("it wrote %v, runs %s, asked to %v", w, l.runs(), l.asked(mark))
			}
			if got := strings.Join(l.heard.stages, ", "); got != "status 2, end" || len(l.heard.results) != 2 || len(l.heard.notes) > 0 {
				t.Errorf("the watcher heard %s, %s, %+v", got, told(l.heard.results), l.heard.notes)
			}
		})
	}
}

// foreignOnly makes token fleet one with a single rule besides those of the other hosts, as somebody's edit does.
func (l *lab) foreignOnly(hash, description string) {
	l.t.Helper()
	doc := "kind: token\nversion: v2\nmetadata: {name: fleet}\nspec:\n  roles: [Bot]\n  join_method: tpm\n  bot_name: fleet\n" +
		"  tpm:\n    allow:\n    - {description: " + description + ", ek_public_hash: \"" + hash + "\"}\n"
	if hash != l.host["web-02"].TPM.EKHash() {
		doc += "    - {description: web-02, ek_public_hash: \"" + l.host["web-02"].TPM.EKHash() + "\"}\n"
	}
	if err := l.cluster.Put(doc); err != nil {
		l.t.Fatal(err)
	}
}

func TestStatusOfHostsThatNeverCameSoFar(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.choose("web-01")
	l.enrolled()
	// web-02 joined another cluster of that name: ours knows of no join.
	other := memcluster.NewCluster(t, tbotHere)
	l.choose("web-01", "web-02")
	if _, err := l.enroll(func(o *EnrollOptions) { o.TokensOnly = true }); err != nil {
		t.Fatal(err)
	}
	l.host["web-02"].Cluster = joinsAnything{other}
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 ok, web-02 failed join-unconfirmed", outcome.ErrHostsFailed)
	l.Hosts = l.Inventory
	rep, err := Status(t.Context(), l.Fleet, nil)
	if got, want := states(rep), "web-01 healthy, web-02 never-joined, web-03 not-enrolled"; got != want || !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("got %s, %v", got, err)
	}
	if h := rep.Hosts[2]; len(h.Drift) > 0 || h.Message != "enroll has not been here" || h.Since != nil {
		t.Errorf("%+v", h)
	}
}

// joinsAnything lets everybody join, and keeps it for itself.
type joinsAnything struct{ *memcluster.Cluster }

func (joinsAnything) Join(memcluster.JoinRequest) error { return nil }

func TestJoinsThatNoHostAccountsFor(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	now := time.Now()
	l.cluster.Now = func() time.Time { return now }
	l.enrolled()
	l.Inventory = slices.DeleteFunc(l.Inventory, func(h inventory.Host) bool { return h.Name == "web-02" })
	l.Hosts = l.Inventory
	// A stranger's rule, which somebody put there and whose TPM joined at once; and one that did so long ago.
	fresh, old := enrolltest.Hash(70), enrolltest.Hash(71)
	l.foreign(`{description: fresh, ek_public_hash: "`+fresh+`"}`, `{description: old, ek_public_hash: "`+old+`"}`)
	join := func(hash string) {
		if err := l.cluster.Join(memcluster.JoinRequest{Host: "x", EKHash: hash, Token: "fleet", Tbot: tbotHere}); err != nil {
			t.Fatal(err)
		}
	}
	join(fresh)
	now = now.Add(-3 * time.Hour)
	join(old)
	now = now.Add(3 * time.Hour)
	rep, err := Status(t.Context(), l.Fleet, nil)
	if got := states(rep); got != "web-01 healthy, web-03 healthy" || !errors.Is(err, outcome.ErrChanges) {
		t.Errorf("%s, %v", got, err)
	}
	var strange []string
	for _, s := range rep.Strange {
		strange = append(strange, s.EKHash+" "+s.Host+" "+s.Bot)
	}
	want := []string{fresh + "  fleet", l.host["web-02"].TPM.EKHash() + " web-02 fleet"}
	slices.Sort(want)
	if !slices.Equal(strange, want) {
		t.Errorf("strange joins %q, want %q", strange, want)
	}
}

func TestStatusWithoutTheCluster(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.heard.forget()
	l.cluster.Before = func(memcluster.Command) error { return errors.New("connection refused") }
	rep, err := Status(t.Context(), l.Fleet, nil)
	h := rep.Hosts[0]
	if got := states(rep); got != "web-01 unverified" || !errors.Is(err, outcome.ErrHostsFailed) || h.Joined == nil || h.Instance != nil ||
		!strings.Contains(h.Message, "connection refused") {
		t.Errorf("a cluster that cannot be asked: %s, %v, %+v", got, err, h)
	}
	var about []ClusterSubject
	for _, n := range heard[ClusterSilent](l) {
		if about = append(about, n.About); n.Err == nil || !strings.Contains(n.Err.Error(), "connection refused") {
			t.Errorf("%+v", n)
		}
	}
	if !slices.Equal(about, []ClusterSubject{AboutTokens, AboutJoins}) {
		t.Errorf("notes about %v", about)
	}
	l.heard.forget()
	mark := len(l.cluster.Commands())
	l.Cluster = nil
	rep, err = Status(t.Context(), l.Fleet, nil)
	if got := states(rep); got != "web-01 healthy" || err != nil || len(l.heard.notes) > 0 || len(l.cluster.Commands()) != mark {
		t.Errorf("nobody wants it asked: %s, %v, notes %+v", got, err, l.heard.notes)
	}
	l.Unasked = errors.New("tctl is not there")
	rep, err = Status(t.Context(), l.Fleet, nil)
	if got := states(rep); got != "web-01 unverified" || !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("no tctl: %s, %v", got, err)
	}
}

// TestWhatTheClusterKnowsOfAnInstance has words of the cluster that are newer, or other, than those of the host.
func TestWhatTheClusterKnowsOfAnInstance(t *testing.T) {
	t.Parallel()
	at, old := time.Now().Add(-time.Hour), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	sick := []tctl.Service{{Name: "identity", Health: "unhealthy"}, {Name: "output-1", Health: "unhealthy", Reason: "disk full"}}
	seen := &store.Installed{JoinedAt: &old, JoinedWith: "fleet"}
	for _, tt := range []struct {
		name  string
		join  *tctl.Join // nil: the cluster has none
		in    *store.Installed
		ready string
		state outcome.Code
		says  string
	}{
		{"a join", &tctl.Join{At: at, Token: "fleet", Version: "18.4.0"}, nil, "200", outcome.StateHealthy, ""},
		{"a join of months ago", &tctl.Join{At: old, Token: "fleet"}, seen, "200", outcome.StateStale, "its latest join was at 2026-01-02T03:04:05Z"},
		{"a join with the token that it had before", &tctl.Join{At: at, Token: "fleet-2"}, nil, "200", outcome.StateUnverified,
			"it has not joined with token fleet yet, the last time with fleet-2"},
		{"the program before the update", &tctl.Join{At: at, Version: "17.0.1"}, nil, "", outcome.StateHealthy, "the tbot that joined last was 17.0.1"},
		{"a service that is not well", &tctl.Join{At: at, Services: sick}, nil, "", outcome.StateUnhealthy,
			"tbot told the cluster that output-1 is unhealthy (disk full)"},
		{"the host's own word is newer", &tctl.Join{At: at, Services: sick}, nil, "200", outcome.StateHealthy, ""},
		{"no join, ever", nil, &store.Installed{}, "200", outcome.StateNeverJoined, "the cluster knows of no join of this EK"},
		{"joins of nobody knows whom", &tctl.Join{At: at, Method: "tpm"}, &store.Installed{}, "200", outcome.StateHealthy, ""},
		{"no join any more", nil, seen, "200", outcome.StateStale, "no join of this EK any more: the last one that was seen was at 2026-01-02T03:04:05Z"},
	} {
		s := HostStatus{Host: "web-01", State: outcome.StateHealthy, EKHash: "aa", Token: "fleet", Tbot: "18.4.0", Ready: tt.ready}
		known := cluster{verify: config.VerifyFull, joins: map[string]tctl.Join{}}
		if tt.join != nil {
			known.joins[map[bool]string{true: tctl.Unattributed, false: "aa"}[tt.join.Method == "tpm"]] = *tt.join
		}
		s.judgeJoin(known, tt.in, 2*time.Hour)
		if s.State != tt.state || tt.says == "" && s.Message != "" || !strings.Contains(s.Message, tt.says) {
			t.Errorf("%s: %s, %q", tt.name, s.State, s.Message)
		}
	}
}

func TestAClusterThatKeepsNoJoinsIsNoTrouble(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.cluster.Version = "16.4.5"
	rep, err := Status(t.Context(), l.Fleet, nil)
	if got := states(rep); got != "web-01 healthy" || err != nil || len(heard[ClusterSilent](l)) != 1 {
		t.Errorf("%s, %v, %v", got, err, l.heard.notes)
	}
}

func TestAStatusThatCannotBeHad(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	f := l.Fleet
	f.Access = refuseAccess
	if _, err := Status(t.Context(), f, nil); !errors.Is(err, errNoAccess) {
		t.Errorf("without access: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.heard.onHost = func(outcome.Result) { cancel() }
	if rep, err := Status(ctx, l.Fleet, nil); !errors.Is(err, context.Canceled) || len(rep.Hosts) > 0 {
		t.Errorf("canceled: %v, %+v", err, rep)
	}
	l.heard.onHost = nil
	l.sick(func(call string) error {
		if call == "record web-01" {
			return errSick
		}
		return nil
	})
	rep, err := Status(t.Context(), l.Fleet, nil)
	if got := states(rep); got != "web-01 broken, web-02 healthy" || !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("a record that cannot be read: %s, %v", got, err)
	}
	f = l.Fleet
	f.Config.Tbot.Install.From = "file"
	if _, err := Status(t.Context(), f, nil); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("an installer that is not there: %v", err)
	}
}

func TestHostStatesGoFromGoodToBad(t *testing.T) {
	t.Parallel()
	all := HostStates()
	if all[0] != outcome.StateHealthy || all[len(all)-1] != outcome.StateUnreachable || len(slices.Compact(slices.Sorted(slices.Values(all)))) != 12 {
		t.Errorf("%v", all)
	}
	for _, tt := range []struct {
		state outcome.Code
		want  outcome.Outcome
	}{
		{outcome.StateHealthy, outcome.OK}, {outcome.StateDrifted, outcome.OK}, {outcome.StateNeverJoined, outcome.Failed},
		{outcome.StateUnhealthy, outcome.Failed}, {outcome.StateBroken, outcome.Failed}, {outcome.StateUnreachable, outcome.Unreachable},
	} {
		if r := (HostStatus{Host: "a", State: tt.state}).result(); r.Outcome != tt.want {
			t.Errorf("%s is %s", tt.state, r.Outcome)
		}
	}
}

func TestStatusWarnsOfWhatAnEnrollWarnsOf(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.cluster.Version = "20.1.0"
	l.with("web-01", func(s *enrolltest.State) { s.Clock = 10 * time.Minute })
	rep, err := Status(l.t.Context(), l.Fleet, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]outcome.Code{{outcome.VersionSkew, outcome.ClockOff}, {outcome.VersionSkew}} {
		if got := warnings(rep.Hosts[i].result()); !slices.Equal(got, want) {
			t.Errorf("%s warns of %v, want %v", rep.Hosts[i].Host, got, want)
		}
	}
}

func TestAFailedHostKeepsItsWarnings(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*enrolltest.State){
		"a masked unit": func(s *enrolltest.State) { s.Service.Masked = true },
		"a foreign unit": func(s *enrolltest.State) {
			s.Files["/etc/tbot.yaml"] = &enrolltest.File{Kind: enrolltest.Regular, Content: []byte("version: v2\n"), Owner: "root", Group: "root", Mode: 0o600}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			l.with("web-01", func(s *enrolltest.State) { s.Clock = 10 * time.Minute; spoil(s) })
			report, _ := l.enroll()
			if r := report.Results[0]; r.Outcome != outcome.Failed || !slices.Contains(warnings(r), outcome.ClockOff) {
				t.Errorf("%+v", r)
			}
		})
	}
}
