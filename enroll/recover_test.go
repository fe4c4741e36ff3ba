package enroll

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

// lose loses the records, and scans anew.
func (l *lab) lose() {
	l.t.Helper()
	l.Store = enrolltest.Store(l.t)
	_, _ = l.scan() // some hosts may be out
}

func (l *lab) recover(opts RecoverOptions) RecoverReport {
	l.t.Helper()
	opts.Out = l.out
	report, err := Recover(l.t.Context(), l.Fleet, opts)
	if err != nil {
		l.t.Fatal(err)
	}
	return report
}

func (l *lab) writeTombstones() {
	l.t.Helper()
	var all []store.Machine
	for m, err := range l.Store.Machines(l.t.Context()) {
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, m)
	}
	if _, err := token.WriteTombstones(l.out, all); err != nil {
		l.t.Fatal(err)
	}
}

// waysOf are the tokens that the machine of a host may be configured with.
func (l *lab) waysOf(host string) string {
	l.t.Helper()
	var out []string
	for w, err := range l.Store.Ways(l.t.Context()) {
		if err != nil {
			l.t.Fatal(err)
		}
		if w.EKHash == l.host[host].TPM.EKHash() {
			out = append(out, w.Token+" "+w.Evidence)
		}
	}
	return strings.Join(out, ", ")
}

func TestRecoverRebuildsWhatTheClusterAndTheFilesKnow(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-03"}}); err != nil {
		t.Fatal(err)
	}
	l.writeTombstones()
	before, err := l.Store.Tokens(t.Context())
	if err != nil || len(before) != 1 || before[0].Epoch == 0 {
		t.Fatalf("%+v, %v", before, err)
	}
	l.lose()
	if l.machine("web-03").Out() {
		t.Fatal("the new records know of the removal")
	}

	report, err := Recover(t.Context(), l.Fleet, RecoverOptions{Out: l.out, Check: true})
	if !errors.Is(err, outcome.ErrChanges) || len(report.Tombstones) != 1 || l.machine("web-03").Out() || l.waysOf("web-01") != "" {
		t.Errorf("a dry run: %+v, %v", report, err)
	}
	report = l.recover(RecoverOptions{})
	if len(report.Tombstones) != 1 || report.Assigned["web-01"] != "fleet" || len(report.Ways) != 2 || len(report.Undecided)+len(report.Admitted) != 0 {
		t.Errorf("%+v", report)
	}
	if want := (RecoveredToken{Name: "fleet", Marked: true, Rules: 2, Epoch: before[0].Epoch}); len(report.Tokens) != 1 || report.Tokens[0] != want {
		t.Errorf("tokens %+v, want %+v", report.Tokens, want)
	}
	if m := l.machine("web-03"); m.State != store.Removed || m.Host != "web-03" {
		t.Errorf("%+v", m)
	}
	if l.waysOf("web-01") != "fleet cluster" || l.waysOf("web-03") != "" || l.record("web-02").Token != "fleet" {
		t.Errorf("ways %q, %q; %+v", l.waysOf("web-01"), l.waysOf("web-03"), l.record("web-02"))
	}
	after, err := l.Store.Tokens(t.Context())
	if err != nil || len(after) != 1 || after[0].Epoch != before[0].Epoch || after[0].Seen != before[0].Epoch || after[0].Behind {
		t.Errorf("%+v, then %+v, %v", after, before, err)
	}

	// Again, there is nothing to find, and the cluster is as it should be.
	if again := l.recover(RecoverOptions{}); !again.Empty() {
		t.Errorf("again: %+v", again)
	}
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Error(err)
	}
	if l.admits("web-01", "fleet") == "" || l.admits("web-03", "fleet") != "" {
		t.Errorf("rules %v", l.cluster.Rules("fleet"))
	}
}

func TestRecoverLetsRulesLeaveAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	tokens, err := l.Store.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := tokens[0]
	old.Epoch, old.Behind = 0, true // as an older copy, which has learned that it is one
	if err := l.Store.Publish(t.Context(), store.Publication{Tokens: []store.Token{old}}); err != nil {
		t.Fatal(err)
	}
	if report := l.recover(RecoverOptions{}); !report.Tokens[0].Cleared || report.Tokens[0].Was != 0 || report.Tokens[0].Epoch == 0 {
		t.Errorf("%+v", report.Tokens)
	}
	if after, err := l.Store.Tokens(t.Context()); err != nil || after[0].Behind || after[0].Epoch != tokens[0].Epoch {
		t.Errorf("%+v, %v", after, err)
	}
}

func TestRecoverTakesNothingThatIsNotOurs(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	stranger := enrolltest.Hash(0xabc)
	l.put(foreign("fleet-7", "{ek_public_hash: \""+stranger+"\"}"))                                // another bot
	l.put(foreign("other", "{ek_public_hash: \""+l.host["web-01"].TPM.EKHash()+"\"}"))             // another name
	l.put("kind: token\nversion: v2\nmetadata: {name: fleet-2}\nspec: {roles: [Bot], bot_name: " + // as ours, without a mark
		l.Config.Bot.Name + ", join_method: tpm, tpm: {allow: [{ek_public_hash: \"" + stranger + "\"}, {ek_public_hash: \"" +
		l.host["web-02"].TPM.EKHash() + "\"}]}}\n")
	l.lose()
	report := l.recover(RecoverOptions{})
	if len(report.Tokens) != 2 || report.Tokens[1].Name != "fleet-2" || report.Tokens[1].Strangers != 1 || report.Tokens[1].Marked {
		t.Errorf("%+v", report.Tokens)
	}
	for w, err := range l.Store.Ways(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if w.EKHash == stranger || w.Token == "other" || w.Token == "fleet-7" {
			t.Errorf("%+v", w)
		}
	}
	if l.waysOf("web-02") != "fleet cluster, fleet-2 cluster" || l.waysOf("web-01") != "fleet cluster" {
		t.Errorf("ways %q, %q", l.waysOf("web-01"), l.waysOf("web-02"))
	}
	// web-02 has joined with the first one.
	if report.Assigned["web-02"] != "fleet" || len(report.Undecided) != 0 {
		t.Errorf("%+v", report)
	}
}

func TestRecoverNamesWhatIsOutAndAdmittedAllTheSame(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	ek := l.host["web-02"].TPM.EKHash()
	if err := l.Store.SetStates(t.Context(), "remove", store.Machine{EKHash: ek, Host: "web-02", State: store.Removed}); err != nil {
		t.Fatal(err)
	}
	l.writeTombstones()
	l.lose()
	report := l.recover(RecoverOptions{})
	if len(report.Admitted) != 1 || report.Admitted[0].EKHash != ek || l.waysOf("web-02") != "" || report.Assigned["web-02"] != "" {
		t.Errorf("%+v, ways %q", report, l.waysOf("web-02"))
	}
}

func TestRecoverMarksImpossibleTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	for at, want := range map[string]bool{
		"1970-01-01T00:01:00Z": false, "2024-12-31T23:59:59Z": false, "2025-01-01T00:00:00Z": true, "2026-11-26T00:30:00Z": true,
		"2026-11-26T02:00:00Z": false, "2036-01-01T00:00:00Z": false,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil || possible(when, now) != want {
			t.Errorf("%s: %v", at, err)
		}
	}
	l := newLab(t, 1)
	run, err := l.Store.BeginRun(t.Context(), "scan", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Store.EndRun(t.Context(), run, store.StateDone); err != nil {
		t.Fatal(err)
	}
	r := &recovery{Fleet: l.Fleet}
	for i, want := range []int{1, 0} {
		r.report = RecoverReport{Run: run + 1}
		if err := r.clock(t.Context(), time.Now().AddDate(-1, 0, 0)); err != nil || len(r.report.Impossible) != want {
			t.Errorf("%d: %+v, %v", i, r.report, err)
		}
	}
	var said []string
	for e, err := range records.Log(t.Context(), l.Store, "") {
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, e.Action)
		if e.Run != run {
			t.Errorf("%+v", e)
		}
	}
	if !slices.Equal(said, []string{actionImpossible}) {
		t.Errorf("%v", said)
	}
}

func TestChangesOfRecordsAreRunsOfTheirOwn(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	_, err := DisableRecords(t.Context(), l.Fleet, "web-01")
	_, err2 := EnableRecords(t.Context(), l.Fleet, "web-01")
	_, err3 := ReadmitRecords(t.Context(), l.Fleet, "web-01")
	err4 := ForgetRecords(t.Context(), l.Fleet, "web-02")
	if err := errors.Join(err, err2, err4); err != nil || !errors.Is(err3, outcome.ErrInput) {
		t.Errorf("%v, %v", err, err3)
	}
	if got := l.runs(); got != "scan done, disable done, enable done, readmit failed, forget done" {
		t.Errorf("%s", got)
	}
	if m := l.machine("web-01"); m.Out() || m.Run != 3 {
		t.Errorf("%+v", m)
	}
}

func TestADisabledHostKeepsEverythingButItsRule(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	was, trees := l.waysOf("web-02"), l.trees()
	if _, err := DisableRecords(t.Context(), l.Fleet, "web-02"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true, AllowRemovals: 1}); err != nil {
		t.Fatal(err)
	}
	if l.admits("web-02", "fleet") != "" || l.admits("web-01", "fleet") == "" || l.waysOf("web-02") != was || l.record("web-02").Installed == nil {
		t.Errorf("rules %v, ways %q", l.cluster.Rules("fleet"), l.waysOf("web-02"))
	}
	if _, err := EnableRecords(t.Context(), l.Fleet, "web-02"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	if l.admits("web-02", "fleet") == "" || l.record("web-02").Token != "fleet" || l.trees() != trees {
		t.Errorf("rules %v, %+v", l.cluster.Rules("fleet"), l.record("web-02"))
	}
}

func TestRecordsAreNotChangedInTheMiddleOfAnotherRun(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fleet.db")
	open := func() store.Store {
		st, err := store.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		return st
	}
	scanning, f := open(), Fleet{Store: open()}
	enrolltest.See(t, scanning, "a", 1)
	run, err := scanning.BeginRun(t.Context(), "scan", 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"forget":  func() error { return ForgetRecords(t.Context(), f, "a") },
		"accept":  func() error { _, err := AcceptRecords(t.Context(), f, false, "a"); return err },
		"rename":  func() error { _, err := RenameRecord(t.Context(), f, "a", "b"); return err },
		"disable": func() error { _, err := DisableRecords(t.Context(), f, "a"); return err },
		"enable":  func() error { _, err := EnableRecords(t.Context(), f, "a"); return err },
		"readmit": func() error { _, err := ReadmitRecords(t.Context(), f, "a"); return err },
		"recover": func() error { _, err := Recover(t.Context(), f, RecoverOptions{}); return err },
	} {
		if err := change(); !errors.Is(err, store.ErrLocked) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := scanning.EndRun(t.Context(), run, store.StateDone); err != nil {
		t.Fatal(err)
	}
	if err := ForgetRecords(t.Context(), f, "a"); err != nil {
		t.Error(err)
	}
}

func TestWhoIsReadmittedIsNotTakenOutByTheFile(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	for range 3 { // so that the removal's run is later than those of the new records
		if _, err := l.scan(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-02"}}); err != nil {
		t.Fatal(err)
	}
	removed := l.machine("web-02").Run
	l.Store = enrolltest.Store(t)
	enrolltest.See(t, l.Store, "somebody", 5)
	l.recover(RecoverOptions{})
	if m := l.machine("web-02"); m.State != store.Removed || m.Run != removed {
		t.Fatalf("%+v", m)
	}
	if changes, err := ReadmitRecords(t.Context(), l.Fleet, "web-02"); err != nil || len(changes) != 1 {
		t.Fatalf("%+v, %v", changes, err)
	}
	for range 2 { // the file is read before it is written anew
		if report := l.recover(RecoverOptions{}); len(report.Tombstones) != 0 || l.machine("web-02").Out() {
			t.Errorf("%+v, %+v", report, l.machine("web-02"))
		}
	}
	if _, err := l.enroll(); err != nil || l.admits("web-02", "fleet") == "" {
		t.Errorf("%v, rules %v", err, l.cluster.Rules("fleet"))
	}
}

// Files that are made of recovered records check certificates as the cluster does, as long as machines without one may have the token.
func TestRecoverKnowsTheCAsThatMachinesHaveJoinedUnder(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.certify("web-01")
	l.lose()
	l.recover(RecoverOptions{})
	if _, err := l.tokens(TokensOptions{AcceptPolicy: true}); err != nil {
		t.Fatal(err)
	}
	if text := l.readFile("fleet.yaml"); strings.Contains(text, "ekcert_allowed_cas") || !strings.Contains(text, l.host["web-02"].TPM.EKHash()) {
		t.Errorf("web-02, which has no certificate, is locked out by\n%s", text)
	}
}

// A host that is forgotten and scanned again, before a run has taken its rule out, may still have the token that it had.
func TestAForgottenHostThatIsScannedAgainKeepsItsWay(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	forget := func() {
		t.Helper()
		if err := ForgetRecords(t.Context(), l.Fleet, "web-01"); err != nil {
			t.Fatal(err)
		}
	}
	forget()
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	l.with("web-01", func(s *enrolltest.State) { s.Down = true })
	l.Config.Token.Name = "prod"
	for range 2 {
		if _, err := l.enroll(func(o *EnrollOptions) { o.AcceptPolicy = true }); !errors.Is(err, outcome.ErrHostsFailed) {
			t.Fatal(err)
		}
		if in := l.admits("web-01", "fleet", "prod"); in != "fleet prod" {
			t.Errorf("web-01, which is down, is admitted by %q", in)
		}
	}
	forget()
	for range 2 { // down: nobody scans it again
		if _, err := l.tokens(TokensOptions{Apply: true}); err != nil && !errors.Is(err, outcome.ErrHostsFailed) {
			t.Fatal(err)
		}
		if in := l.admits("web-01", "fleet", "prod"); in != "" {
			t.Errorf("web-01, which was forgotten, is admitted by %q", in)
		}
	}
}

// A machine that is let in again may still have the tokens that it had, when nobody was at its host meanwhile.
func TestAReadmittedMachineKeepsItsWays(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	for _, how := range []RemoveOptions{{Names: []string{"web-01"}, Offline: true, Yes: true}, {Names: []string{"web-02"}, Yes: true}} {
		if _, err := l.remove(how); err != nil {
			t.Fatal(err)
		}
	}
	if l.waysOf("web-02") != "" {
		t.Errorf("enroll's things are gone from web-02, and it may have %q", l.waysOf("web-02"))
	}
	for _, host := range []string{"web-01", "web-02"} {
		if _, err := ReadmitRecords(t.Context(), l.Fleet, l.host[host].TPM.EKHash()); err != nil {
			t.Fatal(err)
		}
	}
	l.with("web-01", func(s *enrolltest.State) { s.Down = true })
	l.Config.Token.Name = "prod"
	for range 2 {
		if _, err := l.enroll(func(o *EnrollOptions) { o.AcceptPolicy = true }); err != nil && !errors.Is(err, outcome.ErrHostsFailed) {
			t.Fatal(err)
		}
	}
	for host, want := range map[string]string{"web-01": "fleet prod", "web-02": "prod", "web-03": "prod"} {
		if in := l.admits(host, "fleet", "prod"); in != want {
			t.Errorf("%s is admitted by %q, want %q", host, in, want)
		}
	}
}

// New records count on from the epochs of the cluster: an older copy of the lost ones would not notice else that it is old.
func TestEpochsGoOnWhenTheRecordsAreLost(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	for _, name := range []string{"prod", "site", "fleet"} {
		l.Config.Token.Name = name
		if _, err := l.enroll(acceptPolicy); err != nil {
			t.Fatal(err)
		}
	}
	before, err := l.Store.Tokens(t.Context())
	if err != nil || len(before) != 1 || before[0].Epoch < 4 {
		t.Fatalf("%v, %+v", err, before)
	}
	l.lose()
	l.Config.Token.Name = "prod"
	if _, err := l.tokens(TokensOptions{Apply: true, AcceptPolicy: true}); err != nil && !errors.Is(err, outcome.ErrHostsFailed) {
		t.Fatal(err)
	}
	after, err := l.Store.Tokens(t.Context())
	if i := slices.IndexFunc(after, func(k store.Token) bool { return k.Name == "prod" }); err != nil || i < 0 || after[i].Epoch <= before[0].Epoch {
		t.Errorf("%v, %+v; before %+v", err, after, before)
	}
}

// copied keeps a copy of the records where a run makes one.
type copied struct {
	store.Store
	file string
}

func (c copied) Snapshot(ctx context.Context) error { return c.Backup(ctx, c.file) }

// olderCopy gives the lab the copy of the records that a run made before it took token fleet away. Since then the hosts have
// gone back to fleet.
func (l *lab) olderCopy() {
	l.t.Helper()
	l.enrolled()
	file := filepath.Join(l.t.TempDir(), "backup.db")
	l.Store = copied{l.Store, file}
	l.Config.Token.Name = "prod"
	if _, err := l.enroll(acceptPolicy); err != nil {
		l.t.Fatal(err)
	}
	l.Store = l.Store.(copied).Store
	l.Config.Token.Name = "fleet"
	if _, err := l.enroll(acceptPolicy); err != nil || l.admits("web-01", "fleet", "prod") != "fleet" {
		l.t.Fatalf("%v: %s", err, l.admits("web-01", "fleet", "prod"))
	}
	old, err := store.Open(l.t.Context(), file)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = old.Close() })
	l.Store, l.Config.Token.Name = old, "prod"
}

// Such a copy knows of a join with the new token; the cluster, of later ones.
func TestRecoveredRecordsOfBeforeATokenWentKeepTheOneThatCameBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.olderCopy()
	l.recover(RecoverOptions{})
	if again := l.recover(RecoverOptions{}); !again.Empty() {
		t.Errorf("done again, it finds %+v", again)
	}
	l.applies()
	if got := l.admits("web-01", "fleet", "prod"); got != "fleet prod" {
		t.Errorf("web-01, which has token fleet, is admitted by %q", got)
	}
}

// applies applies tokens, whatever has to be looked at.
func (l *lab) applies() {
	l.t.Helper()
	if _, err := l.tokens(TokensOptions{Apply: true, AcceptPolicy: true}); err != nil && !errors.Is(err, outcome.ErrHostsFailed) {
		l.t.Fatal(err)
	}
}

// Who looks at the cluster with such a copy learns nothing of it, and who applies learns that it is old: from then on nothing
// leaves the token until somebody recovers.
func TestAnOlderCopyTakesNoTokenAwayThatCameBack(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(*lab){
		"apply": (*lab).applies,
		"an enroll of one host": func(l *lab) {
			l.choose("web-02")
			if _, err := l.enroll(acceptPolicy); !errors.Is(err, outcome.ErrHostsFailed) {
				l.t.Errorf("an enroll of one host: %v", err)
			}
			l.choose("web-01", "web-02")
		},
		"a look": func(l *lab) {
			look := TokensOptions{Check: true, Diff: true, AcceptPolicy: true}
			if _, err := l.tokens(look); !errors.Is(err, outcome.ErrHostsFailed) && !errors.Is(err, outcome.ErrChanges) {
				l.t.Errorf("a look: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.olderCopy()
			first(l)
			for range 2 {
				l.applies()
				if got := l.admits("web-01", "fleet", "prod"); got != "fleet prod" {
					t.Errorf("web-01, which has token fleet, is admitted by %q", got)
				}
			}
		})
	}
}

// After the records were lost and somebody deleted a token, only the machines' joins say whom it admitted.
func TestADeletedTokenComesBackForWhomJoinedWithItThoughTheRecordsAreLost(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(*lab){
		"apply":   func(*lab) {},
		"recover": func(l *lab) { l.recover(RecoverOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 3)
			l.Config.Token.MaxRules = 1
			l.enrolled()
			if l.admits("web-02", "fleet", "fleet-2", "fleet-3") != "fleet-2" {
				t.Fatalf("web-02 is not in fleet-2: %v", l.cluster.Tokens())
			}
			l.lose()
			l.Config.Token.MaxRules = 0
			l.cluster.Delete("token/fleet-2")
			l.put(foreign("fleet-3", "{ek_public_hash: \""+enrolltest.Hash(0xabc)+"\"}")) // and this one is somebody else's by now
			first(l)
			l.applies()
			if got := l.admits("web-02", "fleet-2"); got != "fleet-2" || len(l.cluster.Rules("fleet-2")) != 1 {
				t.Errorf("web-02, which has token fleet-2, is admitted by %q; its rules are %v", got, l.cluster.Rules("fleet-2"))
			}
			if l.admits("web-03", "fleet-3") != "" {
				t.Error("web-03 got a rule in somebody else's token")
			}
			wrote := l.cluster.Rules("fleet-2")
			l.applies()
			if !slices.Equal(wrote, l.cluster.Rules("fleet-2")) {
				t.Errorf("again: %v, then %v", wrote, l.cluster.Rules("fleet-2"))
			}
		})
	}
}
