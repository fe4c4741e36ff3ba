package enroll

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/scan"
	"fleetctl/inventory"
)

// imports records that a host claims an EK.
func (l *lab) imports(host, ek string) {
	l.t.Helper()
	_, _ = Import(l.t.Context(), l.Fleet, ImportOptions{}, filesOf(`{"host":"`+host+`","ek_public_hash":"`+ek+`"}`))
	if rec := l.record(host); rec.Accepted.EKHash != ek && (rec.Pending == nil || rec.Pending.EKHash != ek) {
		l.t.Fatalf("%s: %+v", host, rec)
	}
}

// drop takes a host out of the inventory.
func (l *lab) drop(name string) {
	l.Inventory = slices.DeleteFunc(slices.Clone(l.Inventory), func(h inventory.Host) bool { return h.Name == name })
	l.Hosts = l.Inventory
}

func TestAClaimNeverTakesAProvenHostOutOfTheRollout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		claim func(l *lab)
		want  string
		warns []outcome.Code
	}{
		{"an import of its EK for another host", func(l *lab) { l.imports("aaa", l.host["web-01"].TPM.EKHash()) },
			"web-01 changed", []outcome.Code{outcome.DuplicateEK}},
		{"an import that came first, and has a rule", func(l *lab) {
			l.imports("aaa", l.host["web-01"].TPM.EKHash())
			if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
				t.Fatal(err)
			}
		}, "web-01 changed", []outcome.Code{outcome.Renamed}},
		{"an import of another EK for it", func(l *lab) { l.imports("web-01", l.host["web-02"].TPM.EKHash()) },
			"web-01 changed", []outcome.Code{outcome.Unproven}},
		{"an import of another EK for it, after it was proven", func(l *lab) {
			l.choose("web-01")
			if _, err := l.scan(); err != nil {
				t.Fatal(err)
			}
			l.imports("web-01", l.host["web-02"].TPM.EKHash())
		}, "web-01 changed", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			if strings.Contains(tt.name, "another host") { // a name of the inventory
				l.Inventory = append(slices.Clone(l.Inventory), inventory.Host{Name: "aaa"})
			}
			tt.claim(l)
			l.choose("web-01")
			report, err := l.enroll()
			l.check("enroll", report.Results, err, tt.want, nil)
			if got := warnings(report.Results[0]); !slices.Equal(got, tt.warns) {
				t.Errorf("warnings %v, want %v", got, tt.warns)
			}
			if rules := l.cluster.Rules("fleet"); len(rules) != 1 {
				t.Errorf("rules %v", rules)
			}
		})
	}
}

func TestATbotThatLiesTakesNothingFromTheMachineThatItNames(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.choose("web-01")
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	l.host["web-02"].TPM = newTPM(t, 1)
	l.choose("web-02")
	lied, err := l.scan(func(o *ScanOptions) { o.Ask.Via = scan.ViaTbot })
	l.check("the liar", lied.Results, err, "web-02 failed duplicate-ek", outcome.ErrHostsFailed)
	l.choose("web-01")
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 changed", nil)
	if got := warnings(report.Results[0]); !slices.Equal(got, []outcome.Code{outcome.DuplicateEK}) {
		t.Errorf("warnings %v", got)
	}
}

func TestAHostWithANewNameIsNoClone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.choose("web-01")
	l.enrolled()
	l.host["web-02"].TPM = newTPM(t, 1)
	l.drop("web-01")
	report, err := l.scan()
	l.check("scan", report.Results, err, "web-02 failed renamed", outcome.ErrHostsFailed)
	if r := report.Results[0]; r.Hint != "fleetctl records rename web-01 web-02" || !strings.Contains(r.Message, "is not in the inventory") {
		t.Errorf("%s; hint: %s", r.Message, r.Hint)
	}
	if made, _ := l.tokens(TokensOptions{Apply: true}); len(made.Set.Refused) != 1 || made.Set.Refused[0].Code != outcome.Renamed {
		t.Errorf("refused %+v", made.Set.Refused)
	}
	if rules := l.cluster.Rules("fleet"); len(rules) != 1 {
		t.Errorf("the old name lost its rule: %v", rules)
	}
}

func TestANarrowedRunKnowsTheOtherNamesOfAMachine(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.host["web-02"].TPM, l.host["web-03"].TPM = newTPM(t, 1), newTPM(t, 1)
	l.set("web-01", "fleetctl_same_as", "web-03") // through a name that no run chooses
	l.set("web-02", "fleetctl_same_as", "web-03")
	for _, name := range []string{"web-01", "web-02"} {
		l.choose(name)
		report, err := l.enroll()
		l.check("enroll "+name, report.Results, err, name+" changed", nil)
		if len(report.Results[0].Warnings) > 0 {
			t.Errorf("warnings %+v", report.Results[0].Warnings)
		}
	}
	if made, err := l.tokens(TokensOptions{}); err != nil || len(made.Set.Refused) > 0 {
		t.Errorf("%v, refused %+v", err, made.Set.Refused)
	}
}

// turns counts how often the events of hosts went over from one of two hosts to the other.
func (l *lab) turns(a, b string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := ""
	for _, e := range l.events {
		if e.Host != a && e.Host != b {
			continue
		}
		if last != "" && e.Host != last {
			n++
		}
		last = e.Host
	}
	l.events = nil
	return n
}

func TestTwoNamesOfAMachineAreNeverWorkedOnAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	l.host["web-02"].TPM = newTPM(t, 1)
	l.set("web-02", "fleetctl_same_as", "web-01")
	l.breaks(func(enrolltest.Event) error {
		time.Sleep(3 * time.Millisecond) // long enough for others to come between
		return nil
	})
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	if n := l.turns("web-01", "web-02"); n != 1 {
		t.Errorf("scan: worked on in %d turns", n)
	}
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 changed, web-02 changed, web-03 changed, web-04 changed", nil)
	if n := l.turns("web-01", "web-02"); n != 3 {
		t.Errorf("scan and rollout: worked on in %d turns", n)
	}
	removed, err := l.remove(RemoveOptions{Names: []string{"web-01", "web-02", "web-03"}})
	l.check("remove", removed.Results, err, "web-01 changed, web-03 changed", nil) // a machine is visited once
	if n := l.turns("web-01", "web-02"); n > 1 {
		t.Errorf("remove: worked on in %d turns", n)
	}
}

// alias lets a name of the inventory lead to the machine of another one.
func (l *lab) alias(name, of string) {
	l.t.Helper()
	i := slices.IndexFunc(l.Inventory, func(h inventory.Host) bool { return h.Name == of })
	for key, value := range l.Inventory[i].Vars {
		if strings.HasPrefix(key, "ansible_") {
			l.set(name, key, value)
		}
	}
	l.set(name, "fleetctl_same_as", of)
}

func TestASecondNameOfAMachineDoesNotRedoItsChanges(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.alias("web-02", "web-01")
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 changed, web-02 ok", nil)
	before := l.trees()
	report, err = l.enroll()
	l.check("again", report.Results, err, "web-01 ok, web-02 ok", nil)
	if l.trees() != before {
		t.Error("the second run changed the machine")
	}
}

func TestAChangeThatFailedIsNotTriedAgainUnderAnotherName(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.alias("web-02", "web-01")
	l.Config.Tbot.Services = broken()
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed bad-config, web-02 skipped not-started", outcome.ErrHostsFailed)
	if !strings.Contains(report.Results[1].Message, "web-01, another name of this machine, failed") {
		t.Errorf("message: %s", report.Results[1].Message)
	}
}
