package enroll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/host/diff"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

func TestEnrollDoesAllOfItOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.Config.Tbot.Services = []map[string]any{identityIn("/opt/machine-id/app")}
	report, err := l.enroll()
	l.check("first run", report.Results, err, "web-01 changed, web-02 changed, web-03 changed", nil)
	for _, r := range report.Results {
		if r.Joined != "journal+cluster" || r.Instance == "" || r.EKHash != l.host[r.Host].TPM.EKHash() || !r.Proven || r.Took <= 0 {
			t.Errorf("%+v", r)
		}
		if n := l.cluster.Joins(r.EKHash); n != 1 {
			t.Errorf("%s joined %d times", r.Host, n)
		}
		in := l.record(r.Host).Installed
		if in == nil || in.State != "" || in.Token != "fleet" || in.Run != report.Run || in.TbotVersion != tbotHere ||
			!slices.Contains(in.Made, "dir:/opt/machine-id/app") {
			t.Errorf("%s: installed %+v", r.Host, in)
		}
	}
	if got, want := strings.Join(l.heard.stages, ", "), "scan 3, end, enroll 3, end"; got != want {
		t.Errorf("stages %s", got)
	}
	if got := l.runs(); got != "scan done, enroll done" {
		t.Errorf("runs: %s", got)
	}
	l.writes()
	trees, mark := l.trees(), len(l.cluster.Commands())
	again, err := l.enroll()
	l.check("second run", again.Results, err, "web-01 ok, web-02 ok, web-03 ok", nil)
	for _, r := range again.Results {
		if slices.ContainsFunc(r.Steps, func(s outcome.StepResult) bool { return s.Changed || s.Reason == "" }) || len(r.Steps) == 0 {
			t.Errorf("%s: steps %+v", r.Host, r.Steps)
		}
	}
	if w := l.writes(); len(w) > 0 || l.trees() != trees {
		t.Errorf("the second run wrote %v", w)
	}
	if got := l.asked(mark); !slices.Equal(got, []string{"get", "status"}) {
		t.Errorf("the second run asked the cluster to %v", got)
	}
	if l.record("web-01").Installed.Run != again.Run {
		t.Error("the records do not say that the second run has been there")
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	trees := l.trees()
	report, err := l.enroll(func(o *EnrollOptions) { o.Check, o.Diff = true, true })
	// Nothing was recorded before: the hosts have the token that they would get.
	l.check("dry run", report.Results, err, "web-01 changed, web-02 changed", outcome.ErrChanges)
	if !report.ClusterDiffers || len(heard[ClusterDiffers](l)) != 1 {
		t.Errorf("cluster differs: %v, notes %+v", report.ClusterDiffers, heard[ClusterDiffers](l))
	}
	if !slices.ContainsFunc(report.Results[0].Steps, func(s outcome.StepResult) bool { return strings.Contains(s.Diff, "+proxy_server:") }) {
		t.Errorf("no diff in %+v", report.Results[0].Steps)
	}
	if w := l.writes(); len(w) > 0 || l.trees() != trees || l.files() != "" {
		t.Errorf("it wrote %v and files %q", w, l.files())
	}
	if got := l.asked(0); !slices.Equal(got, []string{"get", "status"}) {
		t.Errorf("it asked the cluster to %v", got)
	}
	if rec := l.record("web-01"); rec.Token != "" || rec.Installed != nil {
		t.Errorf("record %+v", rec)
	}
	l.enrolled()
	report, err = l.enroll(func(o *EnrollOptions) { o.Check = true })
	l.check("dry run afterwards", report.Results, err, "web-01 ok, web-02 ok", nil)
	if report.ClusterDiffers {
		t.Error("the cluster differs")
	}
	l.cluster.Delete("token/fleet")
	report, err = l.enroll(func(o *EnrollOptions) { o.Check = true })
	l.check("without its token", report.Results, err, "web-01 ok, web-02 ok", outcome.ErrChanges)
}

func TestADryRunWithoutTheCluster(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.cluster.Before = func(memcluster.Command) error { return errors.New("connection refused") }
	report, err := l.enroll(func(o *EnrollOptions) { o.Check = true })
	l.check("a cluster that does not answer", report.Results, err, "web-01 changed", outcome.ErrChanges)
	var about []ClusterSubject
	for _, n := range heard[ClusterSilent](l) {
		about = append(about, n.About)
	}
	if !slices.Equal(about, []ClusterSubject{AboutTokens, AboutVersion}) {
		t.Errorf("notes about %v", about)
	}
	l.Cluster = nil
	l.heard.forget()
	report, err = l.enroll(func(o *EnrollOptions) { o.Check = true })
	l.check("no tctl", report.Results, err, "web-01 changed", outcome.ErrChanges)
	if len(heard[ClusterSilent](l)) > 0 {
		t.Errorf("notes %+v", l.heard.notes)
	}
}

func TestStagesOnTheirOwn(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	if _, err := l.enroll(func(o *EnrollOptions) { o.TokensOnly, o.InstallOnly = true, true }); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("both: %v", err)
	}
	report, err := l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
	l.check("hosts alone, before they have a token", report.Results, err, "web-01 failed no-token, web-02 failed no-token", outcome.ErrHostsFailed)
	report, err = l.enroll(func(o *EnrollOptions) { o.TokensOnly = true })
	l.check("tokens alone", report.Results, err, "web-01 ok, web-02 ok", nil)
	if w := l.writes(); len(w) > 0 || len(l.cluster.Rules("fleet")) != 2 {
		t.Errorf("it wrote %v; rules %v", w, l.cluster.Rules("fleet"))
	}
	mark := len(l.cluster.Commands())
	l.heard.forget()
	report, err = l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
	l.check("hosts alone", report.Results, err, "web-01 changed, web-02 changed", nil)
	if got := strings.Join(l.heard.stages, ", "); got != "enroll 2, end" || slices.Contains(l.asked(mark), "create") {
		t.Errorf("stages %s, asked to %v", got, l.asked(mark))
	}
}

func TestHostsThatAStageRefusesTakeNoPartInTheNext(t *testing.T) {
	t.Parallel()
	l := newLab(t, 6)
	l.host["web-02"].TPM = newTPM(t, 1)
	l.with("web-03", func(s *enrolltest.State) { s.TPM12 = true })
	l.with("web-04", func(s *enrolltest.State) { s.Down = true })
	l.certify("web-01", "web-02", "web-03", "web-04", "web-05")
	l.Config.Token.WithoutEKCert = config.Refuse
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed duplicate-ek, web-02 failed duplicate-ek, web-03 failed tpm-1.2, "+
		"web-04 unreachable disconnected, web-05 changed, web-06 failed no-ekcert", outcome.ErrHostsFailed)
	if !strings.Contains(l.heard.stages[2], "enroll 1") {
		t.Errorf("stages %v", l.heard.stages)
	}
	if w := l.writes(); slices.ContainsFunc(w, func(s string) bool { return !strings.HasPrefix(s, "web-05 ") }) {
		t.Errorf("written to: %v", w)
	}
}

func TestWarningsOfTheRolloutAreKeptNextToThoseOfTheScan(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.cluster.Version = "20.1.0"
	l.certify("web-02")
	l.with("web-01", func(s *enrolltest.State) { s.Clock = 10 * time.Minute })
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 changed, web-02 changed", nil)
	if got, want := warnings(report.Results[0]), []outcome.Code{outcome.NoEKCert, outcome.VersionSkew, outcome.ClockOff}; !slices.Equal(got, want) {
		t.Errorf("web-01 warns of %v, want %v", got, want)
	}
	if got, want := warnings(report.Results[1]), []outcome.Code{outcome.VersionSkew}; !slices.Equal(got, want) {
		t.Errorf("web-02 warns of %v, want %v", got, want)
	}
	if w := report.Results[0].Warnings[2]; !strings.Contains(w.Message, "clock is off by ") {
		t.Errorf("clock: %+v", w)
	}
}

func TestAJoinThatTheClusterDoesNotShow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(l *lab, asked *int) func(memcluster.Command) error
		joined string
		want   string
		notes  int
	}{
		{"it shows the join", func(*lab, *int) func(memcluster.Command) error { return nil }, "journal+cluster", "web-01 changed", 0},
		{"it never says who joined", func(*lab, *int) func(memcluster.Command) error {
			return func(c memcluster.Command) error {
				if asksJoins(c) {
					return errors.New("access denied")
				}
				return nil
			}
		}, "journal", "web-01 failed unverified", 1},
		{"it says who joined before the run, and not after it", func(_ *lab, asked *int) func(memcluster.Command) error {
			return func(c memcluster.Command) error {
				if !asksJoins(c) {
					return nil
				}
				if *asked++; *asked > 1 {
					return errors.New("access denied")
				}
				return nil
			}
		}, "journal", "web-01 failed unverified", 1},
		{"the host joined somewhere else", func(l *lab, _ *int) func(memcluster.Command) error {
			other := memcluster.NewCluster(l.t, tbotHere)
			if err := other.Put("kind: bot\nversion: v1\nmetadata: {name: fleet}\nspec: {roles: [access]}\n---\n" +
				"kind: token\nversion: v2\nmetadata: {name: fleet}\nspec: {roles: [Bot], join_method: tpm, bot_name: fleet, " +
				"tpm: {allow: [{ek_public_hash: \"" + l.host["web-01"].TPM.EKHash() + "\"}]}}\n"); err != nil {
				l.t.Fatal(err)
			}
			l.host["web-01"].Cluster = other
			return nil
		}, "journal", "web-01 failed join-unconfirmed", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			asked := 0
			l.cluster.Before = tt.before(l, &asked)
			report, err := l.enroll()
			well := tt.want == "web-01 changed"
			l.check("enroll", report.Results, err, tt.want, map[bool]error{false: outcome.ErrHostsFailed}[well])
			r := report.Results[0]
			if r.Joined != tt.joined || l.record("web-01").Installed.JoinedBy("fleet") != well {
				t.Errorf("joined %q, %+v", r.Joined, l.record("web-01").Installed)
			}
			if n := heard[ClusterSilent](l); len(n) != tt.notes || len(n) > 0 && n[0].About != AboutJoins {
				t.Errorf("notes %+v", n)
			}
		})
	}
}

// asksJoins tells the question for joins from others.
func asksJoins(c memcluster.Command) bool {
	return c.Verb == "get" && slices.ContainsFunc(c.Args, func(a string) bool { return strings.HasPrefix(a, "bot_instance") })
}

func TestAFileOfSomebodyElseIsReplacedWhenAdopted(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	const mine = "version: v2 # mine\n"
	l.with("web-01", func(s *enrolltest.State) {
		s.Files["/etc/tbot.yaml"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o600, Owner: "root", Group: "root", Content: []byte(mine)}
	})
	before := l.trees()
	report, err := l.enroll()
	l.check("without adopting", report.Results, err, "web-01 failed not-ours", outcome.ErrHostsFailed)
	if l.trees() != before || !strings.Contains(report.Results[0].Hint, "adopting") {
		t.Errorf("hint %q, or the host was changed", report.Results[0].Hint)
	}
	report, err = l.enroll(func(o *EnrollOptions) { o.Adopt = true })
	l.check("adopting", report.Results, err, "web-01 changed", nil)
	l.with("web-01", func(s *enrolltest.State) {
		if kept := s.Files["/etc/tbot.yaml.orig"]; kept == nil || string(kept.Content) != mine || kept.Mode != 0o600 {
			t.Errorf("kept: %+v", kept)
		}
	})
	report, err = l.enroll()
	l.check("second run", report.Results, err, "web-01 ok", nil)
	report2, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("removal", report2.Results, err, "web-01 changed", nil)
	if after := l.trees(); after != before {
		t.Errorf("the removal left something:\n%s", diff.Unified(before, after))
	}
}

// broken is a configuration that a tbot refuses.
func broken() []map[string]any { return []map[string]any{{"type": "broken"}} }

func TestABadConfigurationIsTakenBackOnEveryHost(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("without rollback: %v", keep), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			l.enrolled()
			config := func() (text, state string) {
				l.with("web-01", func(s *enrolltest.State) {
					text, state = string(s.Files["/etc/tbot.yaml"].Content), s.Service.State
				})
				return text, state
			}
			good, _ := config()
			l.Config.Tbot.Services = broken()
			report, err := l.enroll(func(o *EnrollOptions) { o.NoRollback = keep })
			l.check("a bad configuration", report.Results, err, "web-01 failed bad-config", outcome.ErrHostsFailed)
			text, state := config()
			r := report.Results[0]
			back := strings.Contains(r.Message, "the previous files are back, and tbot was restarted with them")
			if len(r.Log) == 0 || back == keep || (text == good) == keep || (state == "active") == keep {
				t.Errorf("%s; the service is %s, the configuration %s", r.Message, state, text)
			}
			if in := l.record("web-01").Installed; in.State != "failed" || in.Step == "" || !slices.Contains(in.Made, "user:teleport") {
				t.Errorf("installed %+v", in)
			}
			l.Config.Tbot.Services = nil
			report, err = l.enroll()
			want := map[bool]string{false: "web-01 ok", true: "web-01 changed"}[keep]
			l.check("after the correction", report.Results, err, want, nil)
			if in := l.record("web-01").Installed; in.State != "" {
				t.Errorf("installed %+v", in)
			}
		})
	}
}

func TestTheFirstConfigurationHasNothingToGoBackTo(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.Config.Tbot.Services = broken()
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed bad-config", outcome.ErrHostsFailed)
	if strings.Contains(report.Results[0].Message, "back") {
		t.Errorf("message: %s", report.Results[0].Message)
	}
}

func TestARollbackThatFailsIsTold(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.Config.Tbot.Services = broken()
	verified := false
	l.breaks(func(e enrolltest.Event) error {
		verified = verified || e.What == "verify"
		if verified && changesHost(e) {
			return errors.New("sh: Read-only file system")
		}
		return nil
	})
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed bad-config", outcome.ErrHostsFailed)
	if m := report.Results[0].Message; !strings.Contains(m, "rollback of /etc/tbot.yaml") || !strings.Contains(m, "Read-only") {
		t.Errorf("message: %s", m)
	}
}

// TestAHostThatDiesAnywhereIsCompletedByTheNextRun lets the connection end, the answer get lost or the disk be full: at
// every change that an enroll makes to a host, one of them.
func TestAHostThatDiesAnywhereIsCompletedByTheNextRun(t *testing.T) {
	t.Parallel()
	whole := newLab(t, 1)
	whole.enrolled()
	n := len(whole.writes())
	if n < 10 {
		t.Fatalf("an enroll makes %d changes", n)
	}
	for i := range n {
		fault := []error{enrolltest.ErrDrop, errors.New("sh: No space left on device")}[i%2]
		t.Run(fmt.Sprintf("change %d: %v", i+1, fault), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			seen := 0
			l.breaks(func(e enrolltest.Event) error {
				if e.Host != "web-01" || !changesHost(e) {
					return nil
				}
				if seen++; seen == i+1 {
					return fault
				}
				return nil
			})
			before := l.host["web-01"].Tree()
			report, err := l.enroll()
			if r := report.Results[0]; !r.Bad() || !errors.Is(err, outcome.ErrHostsFailed) || report.Results[1].Outcome != outcome.Changed {
				t.Errorf("first run: %v, %s", err, told(report.Results))
			}
			if in := l.record("web-01").Installed; i > 0 && (in == nil || in.State != "failed" || in.Step == "") {
				t.Errorf("installed %+v", in)
			}
			l.breaks(nil)
			report, err = l.enroll()
			if report.Results[0].Bad() || err != nil {
				t.Errorf("second run: %v, %s\n%s", err, told(report.Results), messages(report.Results))
			}
			report, err = l.enroll()
			l.check("third run", report.Results, err, "web-01 ok, web-02 ok", nil)
			removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("removal", removed.Results, err, "web-01 changed", nil)
			if after := l.host["web-01"].Tree(); after != before {
				t.Errorf("the removal left something:\n%s", diff.Unified(before, after))
			}
		})
	}
}

func TestAnEnrollThatWasCanceledIsResumed(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	l.reach.Forks = 1
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.heard.onHost = func(r outcome.Result) {
		if r.Host == "web-02" && len(r.Steps) > 0 {
			cancel()
		}
	}
	report, err := l.enrollIn(ctx)
	l.check("first run", report.Results, err,
		"web-01 changed, web-02 changed, web-03 canceled canceled, web-04 canceled canceled", context.Canceled)
	if got := l.runs(); got != "scan done, enroll interrupted" {
		t.Errorf("runs: %s", got)
	}
	l.heard.onHost = nil
	again, err := l.enroll(func(o *EnrollOptions) { o.Resume = true })
	l.check("resumed", again.Results, err, "web-03 changed, web-04 changed", nil)
	if again.Run != report.Run {
		t.Errorf("run %d went on as %d", report.Run, again.Run)
	}
	last, err := l.enroll(func(o *EnrollOptions) { o.Resume = true })
	l.check("nothing left", last.Results, err, "", nil)
	if notes := heard[NothingLeft](l); len(notes) != 1 || notes[0].Command != "enroll" {
		t.Errorf("notes %+v", notes)
	}
}

func TestAnEnrollThatIsCanceledInItsScanTellsWhomItSaw(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.reach.Forks = 1
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.heard.onHost = func(outcome.Result) { cancel() }
	report, err := l.enrollIn(ctx)
	l.check("enroll", report.Results, err, "web-01 ok, web-02 canceled canceled, web-03 canceled canceled", context.Canceled)
	if w := l.writes(); len(w) > 0 || len(l.cluster.Commands()) > 0 {
		t.Errorf("it wrote %v and asked the cluster %d times", w, len(l.cluster.Commands()))
	}
}

func TestAHostThatIsInterruptedHalfWay(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.breaks(func(e enrolltest.Event) error {
		if e.Kind == "file" {
			cancel()
			return enrolltest.ErrHang
		}
		return nil
	})
	report, err := l.enrollIn(ctx)
	l.check("enroll", report.Results, err, "web-01 canceled canceled", context.Canceled)
	if in := l.record("web-01").Installed; in == nil || in.State != "failed" {
		t.Errorf("installed %+v", in)
	}
	l.breaks(nil)
	report, err = l.enroll(func(o *EnrollOptions) { o.Resume = true })
	l.check("resumed", report.Results, err, "web-01 changed", nil)
}

func TestAHostThatTakesTooLong(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	if _, err := l.enroll(func(o *EnrollOptions) { o.TokensOnly = true }); err != nil {
		t.Fatal(err)
	}
	l.reach.Timeout = 500 * time.Millisecond
	l.breaks(func(e enrolltest.Event) error {
		if e.Kind == "file" {
			return enrolltest.ErrHang
		}
		return nil
	})
	report, err := l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
	l.check("enroll", report.Results, err, "web-01 unreachable timeout", outcome.ErrHostsFailed)
	l.breaks(nil)
	l.reach.Timeout = 0
	report, err = l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
	l.check("the next run", report.Results, err, "web-01 changed", nil)
}

func TestRulesOfOthersLeaveTheTokensOfAnEnrollWhenPruned(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.foreign(`{description: old box, ek_public_hash: "` + enrolltest.Hash(77) + `"}`)
	l.enrolled()
	if got := l.cluster.Rules("fleet"); len(got) != 2 {
		t.Errorf("without pruning: %v", got)
	}
	report, err := l.enroll(func(o *EnrollOptions) { o.Prune, o.Check = true, true })
	if l.check("dry run", report.Results, err, "web-01 ok", outcome.ErrChanges); !report.ClusterDiffers || len(l.cluster.Rules("fleet")) != 2 {
		t.Errorf("differs: %v, rules %v", report.ClusterDiffers, l.cluster.Rules("fleet"))
	}
	report, err = l.enroll(func(o *EnrollOptions) { o.Prune = true })
	l.check("pruning", report.Results, err, "web-01 ok", nil)
	if got := l.cluster.Rules("fleet"); !slices.Equal(got, []string{l.host["web-01"].TPM.EKHash()}) {
		t.Errorf("rules %v", got)
	}
}

func TestNothingIsResumedThatIsNotThere(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	if _, err := l.enroll(func(o *EnrollOptions) { o.Resume = true }); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("%v", err)
	}
	l.Access = refuseAccess
	if _, err := l.enroll(); !errors.Is(err, errNoAccess) {
		t.Errorf("without access: %v", err)
	}
}

func TestRecordsThatFailInAnEnroll(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, call string
		want       string // results; "" for an error that ends the run
	}{
		{"an observation of the scan", "put web-02", ""},
		{"the run", "begin enroll", ""},
		{"the first entry of the journal", "installed web-02", "web-01 changed, web-02 failed error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.sick(func(call string) error {
				if call == tt.call {
					return errSick
				}
				return nil
			})
			before := l.host["web-02"].Tree()
			report, err := l.enroll()
			if tt.want == "" {
				l.check("enroll", report.Results, err, "", errSick)
			} else {
				l.check("enroll", report.Results, err, tt.want, outcome.ErrHostsFailed)
			}
			var after string
			l.with("web-02", func(s *enrolltest.State) { delete(s.Files, "/run/fleetctl-tbot.pending") })
			if after = l.host["web-02"].Tree(); after != before {
				t.Errorf("a host was changed that nothing could be noted of:\n%s", diff.Unified(before, after))
			}
		})
	}
}

func TestARecordThatIsGoneMeanwhile(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	set := store.ErrNotFound
	f := l.Fleet
	f.Store = sickStore{l.Store, func(call string) error {
		if call == "record web-01" {
			return set
		}
		return nil
	}}
	j, err := openJournal(t.Context(), f.Store, "web-01", 7)
	if err != nil || j.fail(t.Context()) != nil {
		t.Errorf("%v", err)
	}
	if in := l.record("web-01").Installed; in.State != "" {
		t.Errorf("installed %+v", in)
	}
	set = errSick
	if _, err := openJournal(t.Context(), f.Store, "web-01", 7); !errors.Is(err, errSick) {
		t.Errorf("%v", err)
	}
}

func TestAHostWithoutSystemdIsConfiguredAndNotStarted(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.with("web-01", func(s *enrolltest.State) { s.Systemd = 0 })
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 changed no-systemd", nil)
	if n := l.cluster.Joins(l.host["web-01"].TPM.EKHash()); n != 0 {
		t.Errorf("%d joins", n)
	}
}
