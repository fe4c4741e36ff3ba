package enroll

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/token"
)

// alarms are the kinds of alarms that were heard.
func (l *lab) alarms() string {
	var kinds []string
	for _, n := range heard[TokenAlarm](l) {
		kinds = append(kinds, string(n.Alarm.Kind))
	}
	return strings.Join(kinds, " ")
}

// second is another controller of the same fleet and cluster, with records of its own.
func (l *lab) second() *lab {
	other := &lab{
		Fleet: l.Fleet, t: l.t, host: l.host, cluster: l.cluster, heard: &listener{t: l.t}, reach: l.reach, ssh: l.ssh,
		out: filepath.Join(l.t.TempDir(), "out"),
	}
	other.Store, other.Watcher, other.Access = enrolltest.Store(l.t), other.heard, other.access
	return other
}

// TestTwoControllersEndAtTheUnion: each knows a host that the other doesn't, and one writes between the reading and the writing
// of the other. After one more run of both, everybody is in.
func TestTwoControllersEndAtTheUnion(t *testing.T) {
	t.Parallel()
	a := newLab(t, 3)
	b := a.second()
	a.choose("web-01", "web-02")
	b.choose("web-02", "web-03")
	for _, l := range []*lab{a, b} {
		if _, err := l.scan(); err != nil {
			t.Fatal(err)
		}
	}
	apply := TokensOptions{Apply: true}
	between := true
	a.cluster.Before = func(c memcluster.Command) error {
		if between && c.Verb == "create" && strings.Contains(c.Input, "kind: token") {
			between = false
			if _, err := b.tokens(apply); err != nil {
				t.Errorf("the one in between: %v", err)
			}
		}
		return nil
	}
	if _, err := a.tokens(apply); err != nil { // it can't know
		t.Errorf("the one around: %v", err)
	}
	a.wantIn("overwritten", "web-01: fleet; web-02: fleet; web-03:", "fleet")

	b.heard.forget()
	_, err := b.tokens(apply)
	if !errors.Is(err, token.ErrLostRace) || b.alarms() != "lostrace" {
		t.Errorf("the one that was overwritten: %v, %q", err, b.alarms())
	}
	text := heard[TokenAlarm](b)[0].Alarm.Text
	if !strings.Contains(text, "theirs alone has web-01, ours alone has web-03; both are merged") {
		t.Errorf("both versions: %s", text)
	}
	b.heard.forget()
	if _, err := b.tokens(apply); err != nil || b.alarms() != "" {
		t.Errorf("once more, it is told again: %v, %q", err, b.alarms())
	}
	if _, err := a.tokens(apply); !errors.Is(err, outcome.ErrHostsFailed) || a.alarms() != "ahead" {
		t.Errorf("the other one: %v, %q", err, a.alarms())
	}
	a.heard.forget()
	if _, err := a.tokens(apply); err != nil || len(heard[RecordsOld](a)) != 1 {
		t.Errorf("it stays so until recover: %v, %+v", err, heard[RecordsOld](a))
	}
	a.recover(RecoverOptions{})
	a.heard.forget()
	if _, err := a.tokens(apply); err != nil || len(heard[RecordsOld](a)) != 0 {
		t.Errorf("recovered: %v, %+v", err, heard[RecordsOld](a))
	}
	a.wantIn("after one more run of both", "web-01: fleet; web-02: fleet; web-03: fleet", "fleet")
}

// TestEveryRunReadsBackFirst: what somebody did to the tokens is heard in whatever command comes next.
func TestEveryRunReadsBackFirst(t *testing.T) {
	t.Parallel()
	runs := maps.Clone(everyCommand)
	runs["scan"] = func(l *lab) error { _, err := l.scan(); return err }
	for _, name := range []string{"remove", "recover"} { // they say it in their own words
		delete(runs, name)
	}
	for name, do := range runs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.enrolled()
			old, err := os.ReadFile(filepath.Join(l.out, "fleet.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			l.Config.Token.EKCertCAs = nil
			l.cluster.Delete("token/fleet")
			l.heard.forget()
			_ = do(l)
			if l.alarms() != "deleted" {
				t.Errorf("a token that was deleted: %q", l.alarms())
			}

			l.enrolled()
			if _, err := l.remove(RemoveOptions{Names: []string{"web-02"}}); err != nil {
				t.Fatal(err)
			}
			l.put(string(old))
			l.heard.forget()
			if err := do(l); !errors.Is(err, outcome.ErrHostsFailed) || !strings.Contains(l.alarms(), "behind") {
				t.Errorf("an old file: %v, %q", err, l.alarms())
			}
		})
	}
}

// TestAScanAsksOnlyForWhatItPublished: without anything to read back, nobody is asked.
func TestAScanAsksOnlyForWhatItPublished(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	if _, err := l.scan(); err != nil || len(l.cluster.Commands()) != 0 {
		t.Errorf("%v, %v", err, l.cluster.Commands())
	}
	l.enrolled()
	l.cluster.Before = func(memcluster.Command) error { return errors.New("connection refused") }
	l.heard.forget()
	if _, err := l.scan(); err != nil || len(heard[ClusterSilent](l)) != 1 {
		t.Errorf("a scan does without: %v, %+v", err, heard[ClusterSilent](l))
	}
}

// A rule of an EK in one more token of ours, under the name of the machine that is refused, makes that machine no holder of it.
func TestARuleUnderAnotherNameChangesNoHolder(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.Config.Token.MaxRules = 1
	l.choose("web-02", "web-03")
	l.enrolled()
	l.choose("web-01", "web-02", "web-03")
	l.host["web-01"].TPM = l.host["web-03"].TPM
	l.foreign("{description: web-01, ek_public_hash: " + l.host["web-03"].TPM.EKHash() + "}")
	for range 3 {
		report, err := l.enroll()
		if !errors.Is(err, outcome.ErrHostsFailed) {
			t.Fatal(err)
		}
		for _, r := range report.Results {
			if want := r.Host == "web-01"; (r.Code == outcome.DuplicateEK) != want {
				t.Errorf("%s: %s %s", r.Host, r.Code, r.Message)
			}
		}
	}
	if l.record("web-01").Token != "" || l.record("web-03").Token != "fleet-2" {
		t.Errorf("web-01 has %q, web-03 %q", l.record("web-01").Token, l.record("web-03").Token)
	}
}
