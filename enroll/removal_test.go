package enroll

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/host/diff"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
)

// machine is what the records know of the machine of a host.
func (l *lab) machine(name string) store.Machine {
	l.t.Helper()
	for m, err := range l.Store.Machines(l.t.Context()) {
		if err != nil {
			l.t.Fatal(err)
		}
		if m.EKHash == l.host[name].TPM.EKHash() {
			return m
		}
	}
	return store.Machine{}
}

// present lets a host be seen under another name, too.
func (l *lab) present(name, as string) {
	l.t.Helper()
	_, err := l.Store.Put(l.t.Context(), store.Observation{Host: as, Run: 9, Outcome: "ok", Identity: l.record(name).Accepted})
	if err != nil {
		l.t.Fatal(err)
	}
}

// admits says which tokens have a rule for the EK of a host.
func (l *lab) admits(host string, tokens ...string) string {
	var out []string
	for _, name := range tokens {
		if slices.Contains(l.cluster.Rules(name), l.host[host].TPM.EKHash()) {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

// foreign is a tpm token that somebody else wrote.
func foreign(name, rule string) string {
	return fmt.Sprintf("kind: token\nversion: v2\nmetadata: {name: %s}\nspec: {roles: [Bot], bot_name: other, join_method: tpm, "+
		"tpm: {allow: [%s]}}\n", name, rule)
}

func (l *lab) put(yaml string) {
	l.t.Helper()
	if err := l.cluster.Put(yaml); err != nil {
		l.t.Fatal(err)
	}
}

// sure answers every question, and remembers what was asked.
func sure(asked *[]RemovalQuestion, answer bool) func(context.Context, RemovalQuestion) (bool, error) {
	return func(_ context.Context, q RemovalQuestion) (bool, error) {
		*asked = append(*asked, q)
		return answer, nil
	}
}

func TestRemovedTheTombstoneComesFirst(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	asked := 0
	l.cluster.Before = func(c memcluster.Command) error {
		if c.Verb == "create" || c.Verb == "rm" {
			asked++
			if m := l.machine("web-01"); m.State != store.Removed || m.Host != "web-01" || m.Run == 0 {
				t.Errorf("before %v: %+v", c.Args, m)
			}
		}
		return nil
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil || asked == 0 {
		t.Errorf("%v, %d writes", err, asked)
	}
	if m := l.machine("web-01"); m.State != store.Removed || !l.gone("web-01") {
		t.Errorf("%+v, record gone: %v", m, l.gone("web-01"))
	}
}

func TestRemovedHostThatWasRenamed(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.present("web-01", "new-name")
	var asked []RemovalQuestion
	report, err := l.remove(RemoveOptions{Names: []string{"new-name"}, Ask: sure(&asked, true)})
	l.check("new name", report.Results, err, "web-01 changed", nil)
	shown := heard[HostsLeave](l)
	if len(asked) != 1 || asked[0] != (RemovalQuestion{Machines: 1}) || len(shown) != 1 || len(shown[0].Hosts) != 2 ||
		shown[0].Hosts[1].With != "new-name" || shown[0].Hosts[1].Alias {
		t.Errorf("asked %+v, shown %+v", asked, shown)
	}
	if l.admits("web-01", "fleet") != "" || !l.gone("web-01") || !l.gone("new-name") {
		t.Errorf("rules %v", l.cluster.Rules("fleet"))
	}
}

func TestRemovedHostThatIsACloneOfAnother(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.choose("web-01", "web-03")
	l.enrolled()
	l.host["web-02"].TPM = l.host["web-01"].TPM
	l.choose("web-02")
	_, _ = l.scan()
	_, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "web-02 presents the EK of web-01") {
		t.Errorf("the clone was not named: %v", err)
	}
	if l.machine("web-01").Out() || l.admits("web-01", "fleet") == "" {
		t.Fatal("the refused removal removed something")
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01", "web-02"}}); err != nil {
		t.Fatal(err)
	}
	l.choose("web-01", "web-02", "web-03")
	_, _ = l.enroll()
	if l.admits("web-01", "fleet") != "" || l.admits("web-03", "fleet") == "" {
		t.Errorf("rules %v", l.cluster.Rules("fleet"))
	}
}

func TestRemovedHostThatHasAnAlias(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.host["web-02"].TPM = l.host["web-01"].TPM
	l.set("web-02", "fleetctl_same_as", "web-01")
	l.enrolled()
	report, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("removal", report.Results, err, "web-01 changed", nil) // one machine, contacted once
	if l.admits("web-01", "fleet") != "" || !l.gone("web-01") || !l.gone("web-02") {
		t.Errorf("rules %v", l.cluster.Rules("fleet"))
	}
}

func TestRemovedHostAfterTheRecordsWereLost(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.Store = enrolltest.Store(t)
	_, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	still := heard[StillAdmitted](l)
	if !errors.Is(err, outcome.ErrHostsFailed) || l.admits("web-01", "fleet") == "" || len(still) != 2 || still[0].Host != "web-01" ||
		still[0].Token != "fleet" || !still[0].May {
		t.Errorf("%v, %+v", err, still)
	}
	if _, err := l.scan(); err != nil { // then they know
		t.Fatal(err)
	}
	_, err = l.remove(RemoveOptions{Names: []string{"web-01"}})
	if err == nil && l.admits("web-01", "fleet") != "" || err != nil && !strings.Contains(err.Error(), "token fleet still admits web-01") {
		t.Errorf("%v, rules %v", err, l.cluster.Rules("fleet"))
	}
}

func TestRemovedHostThatTokensOfOthersAdmit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		rule string
		want StillAdmitted
	}{
		"by its EK":             {"{ek_public_hash: HASH}", StillAdmitted{}},
		"by its EK and serial":  {`{ek_public_hash: HASH, ek_certificate_serial: "SERIAL"}`, StillAdmitted{}},
		"by its serial":         {`{ek_certificate_serial: "SERIAL"}`, StillAdmitted{May: true, Why: "by the serial of its EK certificate"}},
		"not by another serial": {`{ek_certificate_serial: "00:11"}`, StillAdmitted{Host: "none"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.certify("web-01", "web-02")
			l.enrolled()
			hash, serial := l.host["web-01"].TPM.EKHash(), l.record("web-01").Accepted.EKSerial
			l.put(foreign("theirs", strings.NewReplacer("HASH", hash, "SERIAL", serial).Replace(tt.rule)))
			report, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			if tt.want.Host == "none" {
				l.check("removal", report.Results, err, "web-01 changed", nil)
				return
			}
			l.check("removal", report.Results, err, "web-01 changed", outcome.ErrHostsFailed)
			tt.want.Host, tt.want.Token, tt.want.EKHash = "web-01", "theirs", hash
			if got := heard[StillAdmitted](l); !slices.Equal(got, []StillAdmitted{tt.want}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestRemovedHostWithARuleThatSomebodyChangedInOurToken: the rule is not the one that the records wrote.
func TestRemovedHostWithASerialThatSomebodyAdded(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	hash := l.host["web-01"].TPM.EKHash()
	l.put(strings.Replace(foreign("fleet", fmt.Sprintf(`{ek_public_hash: %s, ek_certificate_serial: "00:11"}, {ek_public_hash: %s}`, hash,
		l.host["web-02"].TPM.EKHash())), "bot_name: other", "bot_name: fleet", 1))
	_, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	if err == nil && l.admits("web-01", "fleet") != "" || err != nil && !strings.Contains(err.Error(), "token fleet still admits web-01") {
		t.Errorf("%v, rules %v", err, l.cluster.Rules("fleet"))
	}
}

func TestRemovedOnceFromTheWrongCluster(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	right := l.Cluster
	wrong := memcluster.NewCluster(t, tbotHere)
	if err := wrong.Put("kind: bot\nversion: v1\nmetadata: {name: fleet}\nspec: {roles: [access]}\n"); err != nil {
		t.Fatal(err)
	}
	l.Cluster = &tctl.Tctl{Runner: tctl.Func(wrong.Run)}
	_, _ = l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.Cluster = right
	_, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	if err == nil && l.admits("web-01", "fleet") != "" || err != nil && !strings.Contains(err.Error(), "token fleet still admits web-01") {
		t.Errorf("%v, rules %v", err, l.cluster.Rules("fleet"))
	}
}

func TestRemovedHostAfterABackupWasRestored(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	file := filepath.Join(t.TempDir(), "backup.db")
	if err := l.Store.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil {
		t.Fatal(err)
	}
	old, err := store.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = old.Close() })
	l.Store = old
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil || l.machine("web-01").State != store.Removed ||
		l.admits("web-01", "fleet") != "" {
		t.Errorf("%v, %+v", err, l.machine("web-01"))
	}
}

func TestRemovedHostWhoseRecordWasForgotten(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	if err := l.Store.Forget(t.Context(), "web-01"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil || l.machine("web-01").State != store.Removed ||
		l.admits("web-01", "fleet") != "" {
		t.Errorf("%v, %+v, rules %v", err, l.machine("web-01"), l.cluster.Rules("fleet"))
	}
}

func TestRemovedHostThatIsStillInTheInventory(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	before := l.host["web-01"].Tree()
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		report, err := l.enroll()
		if err != nil || report.Results[0].Outcome != outcome.Skipped || report.Results[0].Code != outcome.RemovedEK ||
			!strings.Contains(report.Results[0].Hint, "records readmit web-01") {
			t.Errorf("%v: %+v", err, report.Results[0])
		}
		if l.admits("web-01", "fleet") != "" || l.host["web-01"].Tree() != before {
			t.Errorf("it came back: %v\n%s", l.cluster.Rules("fleet"), diff.Unified(before, l.host["web-01"].Tree()))
		}
	}
	report, err := l.scan()
	l.check("scan", report.Results, err, "web-01 skipped removed-ek, web-02 ok", nil)
}

func TestRemovedHardwareThatIsUsedAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.choose("web-01")
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil {
		t.Fatal(err)
	}
	l.host["web-02"].TPM = l.host["web-01"].TPM
	l.choose("web-02")
	report, err := l.scan()
	l.check("scan", report.Results, err, "web-02 failed removed-ek", outcome.ErrHostsFailed)
	if m := report.Results[0].Message; !strings.Contains(m, "web-01") || !strings.Contains(m, "hardware used again?") {
		t.Errorf("message %q", m)
	}
	if rec := l.record("web-02"); rec.Accepted != nil || rec.Pending != nil {
		t.Errorf("%+v", rec)
	}
}

// What the latest scan has met on a host counts without another one, too.
func TestRemovedHardwareIsNotInstalledUnderAnotherName(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	a, b := l.host["web-01"], l.host["web-02"]
	taken := a.TPM.EKHash()
	a.TPM, b.TPM = b.TPM, a.TPM
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Offline: true}); err != nil {
		t.Fatal(err)
	}
	l.choose("web-02")
	if _, err := l.scan(); !errors.Is(err, outcome.ErrHostsFailed) {
		t.Fatal(err)
	}
	report, err := l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
	l.check("install", report.Results, err, "web-02 failed removed-ek", outcome.ErrHostsFailed)
	if len(report.Results) == 1 && (report.Results[0].EKHash != taken || !strings.Contains(report.Results[0].Hint, taken[:12])) {
		t.Errorf("%+v", report.Results)
	}
}

// TestRemovedWithAnEKThatWaits: the new board of a host that goes is not let in by the next scan either.
func TestRemovedWithAnEKThatWaits(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.host["web-01"].TPM = newTPM(t, 7)
	_, _ = l.scan()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil {
		t.Fatal(err)
	}
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 skipped removed-ek, web-02 ok", nil)
	if got := len(l.cluster.Rules("fleet")); got != 1 {
		t.Errorf("%d rules", got)
	}
}

// TestRemovedNeverTakesTheMachineOfAnother: a host can claim the EK of any other one.
func TestRemovedNeverTakesTheMachineOfAnother(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.host["web-01"].TPM = l.host["web-02"].TPM
	l.choose("web-01")
	_, _ = l.scan()
	if l.record("web-01").Pending == nil {
		t.Fatal("it presents no other EK")
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil {
		t.Fatal(err)
	}
	if l.machine("web-02").Out() || l.admits("web-02", "fleet") == "" {
		t.Errorf("%+v", l.machine("web-02"))
	}
}

func TestRemovedOnlyWhatSomebodyConfirmed(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	trees, runs := l.trees(), l.runs()
	var asked []RemovalQuestion
	for name, tt := range map[string]struct {
		opts RemoveOptions
		want error
	}{
		"nobody to ask":          {RemoveOptions{Names: []string{"web-01"}}, ErrUnconfirmed},
		"somebody says no":       {RemoveOptions{Names: []string{"web-01"}, Ask: sure(&asked, false)}, outcome.ErrInput},
		"a pattern, unsaid":      {RemoveOptions{Names: []string{"web-*"}, Yes: true}, ErrRemovalsDiffer},
		"a pattern, miscounted":  {RemoveOptions{Names: []string{"web-*"}, Yes: true, Removals: 2}, ErrRemovalsDiffer},
		"a pattern, nobody":      {RemoveOptions{Names: []string{"all", "!web-03"}, Removals: 3}, outcome.ErrInput},
		"a pattern that nothing": {RemoveOptions{Names: []string{"db-*"}, Yes: true}, outcome.ErrInput},
	} {
		if _, err := Remove(t.Context(), l.Fleet, tt.opts); !errors.Is(err, tt.want) || !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l.trees() != trees || l.runs() != runs || len(l.cluster.Rules("fleet")) != 3 || l.machine("web-01").Out() {
		t.Fatalf("something was done: %s", l.runs())
	}
	// A name beside the pattern is a person's word, and does not count.
	opts := RemoveOptions{Names: []string{"web-01,web-02", "web-01"}, Out: l.out, Ask: sure(&asked, true)}
	if _, err := Remove(t.Context(), l.Fleet, opts); err != nil || asked[len(asked)-1] != (RemovalQuestion{Machines: 2, Chosen: 1}) {
		t.Errorf("%v, asked %+v", err, asked)
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-*"}, Removals: 1}); err != nil {
		t.Errorf("%v", err)
	}
	if len(l.cluster.Rules("fleet")) != 0 {
		t.Errorf("rules %v", l.cluster.Rules("fleet"))
	}
}

// Revoking doesn't wait for a fleet.yaml that nobody could enroll with.
func TestRemovedUnderAPolicyThatIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.Config.Bot.Name = "another" // the token is for the other one
	if _, err := l.enroll(acceptPolicy); !errors.Is(err, outcome.ErrInput) {
		t.Fatalf("%v", err)
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil || l.admits("web-01", "fleet") != "" || l.admits("web-02", "fleet") == "" {
		t.Errorf("%v, rules %v", err, l.cluster.Rules("fleet"))
	}
}

// What fleet.yaml would change besides is for a run that shows it.
func TestRemovedLeavesThePolicyOfOthersAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	l.Config.Token.Name = "prod"
	l.Config.Bot.Name = "another"
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil {
		t.Fatal(err)
	}
	if got := l.cluster.Tokens(); !slices.Equal(got, []string{"fleet"}) || l.admits("web-01", "fleet") != "" {
		t.Errorf("tokens %v, rules %v", got, l.cluster.Rules("fleet"))
	}
	if l.admits("web-02", "fleet") == "" || l.admits("web-03", "fleet") == "" {
		t.Errorf("others lost their rules: %v", l.cluster.Rules("fleet"))
	}
	if _, err := l.enroll(acceptPolicy); err != nil { // it moves them
		t.Errorf("%v", err)
	}
	if l.admits("web-02", "prod") == "" {
		t.Errorf("tokens %v", l.cluster.Tokens())
	}
}

func TestRemovedShowsWhatGoes(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Check: true}); !errors.Is(err, outcome.ErrChanges) {
		t.Fatal(err)
	}
	shown := heard[HostsLeave](l)
	want := Leaving{Host: "web-01", EKs: []string{l.host["web-01"].TPM.EKHash()}, Token: "fleet", Record: true}
	got := shown[0].Hosts[0]
	things := strings.Join(got.Things, "\n")
	got.Things = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v", got)
	}
	for _, thing := range []string{"unit tbot.service", "configuration /etc/tbot.yaml", "storage /", "user teleport", "group "} {
		if !strings.Contains(things, thing) {
			t.Errorf("no %q in %q", thing, things)
		}
	}
	for _, word := range []string{"new ", "above ", "base ", "config "} {
		if strings.Contains("\n"+things, "\n"+word) {
			t.Errorf("a word of the records in %q", things)
		}
	}
}

// TestRemovedHostThatLeftTheInventoryIsCompleted: the records keep how it is reached, without secrets.
func TestRemovedHostThatLeftTheInventoryIsCompleted(t *testing.T) {
	t.Parallel()
	for name, complete := range map[string]func(*lab) error{
		"by the next removal": func(l *lab) error {
			report, err := l.remove(RemoveOptions{Resume: true})
			l.check("resumed", report.Results, err, "web-01 changed", nil)
			return nil
		},
		"by name": func(l *lab) error {
			report, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("named", report.Results, err, "web-01 changed", nil)
			return nil
		},
		"in passing": func(l *lab) error {
			reach, done, err := l.access(l.t.Context(), nil)
			if err != nil {
				return err
			}
			defer done()
			results, err := l.resumeRemovals(l.t.Context(), 7, reach)
			l.check("in passing", results, err, "web-01 changed", nil)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.Config.Tbot.Services = []map[string]any{identityIn("/opt/machine-id/app")}
			l.set("web-01", "ansible_become_password", "hunter2")
			before := l.host["web-01"].Tree()
			l.enrolled()
			l.with("web-01", func(s *enrolltest.State) { s.Down = true })
			_, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			if !errors.Is(err, outcome.ErrHostsFailed) || l.admits("web-01", "fleet") != "" {
				t.Fatalf("%v", err)
			}
			l.Inventory = l.Inventory[1:]
			l.Hosts = l.Inventory
			if kept := fmt.Sprint(l.record("web-01").Installed.Vars); strings.Contains(kept, "hunter2") || !strings.Contains(kept, "ansible_port") {
				t.Errorf("kept %s", kept)
			}
			if rep, _ := Status(t.Context(), l.Fleet, nil); states(rep) != "web-02 healthy, web-01 undo-pending" {
				t.Errorf("status: %s", states(rep))
			}
			l.with("web-01", func(s *enrolltest.State) { s.Down = false })
			if err := complete(l); err != nil {
				t.Fatal(err)
			}
			if after := l.host["web-01"].Tree(); after != before || !l.gone("web-01") {
				t.Errorf("record gone: %v; left:\n%s", l.gone("web-01"), diff.Unified(before, after))
			}
			if m := l.machine("web-01"); m.State != store.Removed {
				t.Errorf("%+v", m)
			}
			report, err := l.remove(RemoveOptions{Resume: true})
			l.check("nothing left", report.Results, err, "", nil)
		})
	}
}

// TestRemovedOfflineAndMetAgain: what was left there is not forgotten.
func TestRemovedOfflineAndMetAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	before := l.host["web-01"].Tree()
	l.enrolled()
	report, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Offline: true})
	l.check("offline", report.Results, err, "", nil)
	report, err = l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("met again", report.Results, err, "web-01 changed", nil)
	if after := l.host["web-01"].Tree(); after != before {
		t.Errorf("it left:\n%s", diff.Unified(before, after))
	}
}

func TestRemovedAndLetInAgainIsNotUndone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Offline: true}); err != nil {
		t.Fatal(err)
	}
	m := l.machine("web-01")
	m.State = ""
	if err := l.Store.SetStates(t.Context(), "readmit", m); err != nil {
		t.Fatal(err)
	}
	tree := l.host["web-01"].Tree()
	report, err := l.remove(RemoveOptions{Resume: true})
	l.check("resumed", report.Results, err, "", nil)
	if l.host["web-01"].Tree() != tree {
		t.Error("it was undone")
	}
}

func TestRemovedWhileTheClusterKeepsItsTokensToItself(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.cluster.Before = func(c memcluster.Command) error {
		if slices.Contains(c.Args, "tokens") {
			return errors.New(`access denied to perform action "list" on "token"`)
		}
		return nil
	}
	report, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("removal", report.Results, err, "web-01 changed", outcome.ErrHostsFailed)
	if notes := heard[ClusterSilent](l); len(notes) != 2 || notes[0].About != AboutFleet || notes[1].About != AboutAdmitted {
		t.Errorf("%+v", notes)
	}
}

func TestRemovedNeverTellsTheNamesOfOtherTokens(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.put("kind: token\nversion: v2\nmetadata: {name: s3cr3t}\nspec: {roles: [Node], join_method: token}\n")
	report, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Lock: true})
	l.check("removal", report.Results, err, "web-01 changed", nil)
	if all := fmt.Sprintf("%+v %+v %v", l.heard.notes, report, l.heard.logs); strings.Contains(all, "s3cr3t") {
		t.Error("the name of a token was told")
	}
}

func TestRemovedAndLocked(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Lock: true}); err != nil {
		t.Fatal(err)
	}
	notes := heard[Locked](l)
	if len(notes) != 1 || notes[0].Instance.Host != "web-01" || !slices.Equal(l.cluster.Locks(), []string{notes[0].Instance.Instance}) {
		t.Errorf("notes %+v, locks %v", notes, l.cluster.Locks())
	}
	l.cluster.Before = func(c memcluster.Command) error {
		if c.Verb == "lock" {
			return errors.New("access denied")
		}
		return nil
	}
	report, err := l.remove(RemoveOptions{Names: []string{"web-02"}, Lock: true})
	l.check("a lock that is refused", report.Results, err, "web-02 changed", outcome.ErrHostsFailed)
	if len(heard[NotLocked](l)) != 1 || len(heard[CredentialsLive](l)) != 1 {
		t.Errorf("notes %+v", l.heard.notes)
	}
}

func TestRemovedWhereNoInstanceCanBeLocked(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.cluster.Version = "17.7.0"
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Lock: true}); err != nil {
		t.Fatal(err)
	}
	notes := heard[CredentialsLive](l)
	if len(l.cluster.Locks()) > 0 || len(notes) != 1 || !notes[0].NoLock || len(notes[0].Instances) != 1 ||
		notes[0].Instances[0].Until.IsZero() {
		t.Errorf("locks %v, notes %+v", l.cluster.Locks(), notes)
	}
}
