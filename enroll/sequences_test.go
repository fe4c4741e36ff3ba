package enroll

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tctl"
)

// Sequences of ordinary commands that once locked hosts out, or let removed ones in: see sequences_table_test.go.

func TestAResumedRolloutOfAnotherTokenLocksNobodyOut(t *testing.T) {
	t.Parallel()
	l := failedMove(t)
	l.set("web-01", "tbot", nil)
	resume := func(o *EnrollOptions) { o.Resume = true }
	l.choose("web-02")
	if _, err := l.enroll(resume); err != nil {
		t.Fatal(err)
	}
	l.wantIn("one of the others", "web-01: fleet prod; web-02: prod; web-03: fleet prod", "fleet", "prod")
	l.choose("web-01", "web-02", "web-03")
	if _, err := l.enroll(resume); err != nil {
		t.Fatal(err)
	}
	l.wantIn("all", "web-01: prod; web-02: prod; web-03: prod", "fleet", "prod")
}

// What the removal of one host leaves of the others, while the policy changes.
func TestARemovalInTheMiddleOfAMoveLocksNobodyElseOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	l.Config.Token.Name, l.Config.Token.MaxRules = "prod", 1
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}}); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"web-02", "web-03"} {
		if in := l.admits(host, "fleet"); in == "" {
			t.Errorf("%s lost the rule in the token that it is configured with: %s", host, l.in("fleet", "prod", "prod-2"))
		}
	}
	if in := l.admits("web-01", "fleet", "prod", "prod-2", "prod-3"); in != "" {
		t.Errorf("what was removed is in %s", in)
	}
}

func TestCAsThatAreSwitchedOnTakeNobodyOut(t *testing.T) {
	t.Parallel()
	for _, without := range []string{"hash-only", "refuse"} {
		t.Run(without, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 3)
			l.certify("web-01", "web-02")
			cas := l.Config.Token.EKCertCAs
			l.Config.Token.EKCertCAs = nil
			l.enrolled()
			l.Config.Token.EKCertCAs, l.Config.Token.WithoutEKCert = cas, without
			l.choose("web-01")
			if _, err := l.enroll(acceptPolicy); err != nil {
				t.Fatal(err)
			}
			l.wantJoinable("one of them", "fleet")
			if len(heard[CAsHeld](l)) == 0 {
				t.Error("nobody is told who holds the check up")
			}
			l.choose("web-01", "web-02", "web-03")
			if _, err := l.enroll(); err != nil && without == "hash-only" {
				t.Fatal(err)
			}
			l.wantJoinable("all of them", "fleet", "fleet-hash-only")
		})
	}
}

// wantJoinable holds that every host can renew with the token that is in its tbot.yaml.
func (l *lab) wantJoinable(when string, tokens ...string) {
	l.t.Helper()
	for name, h := range l.host {
		in := l.record(name).Installed
		if in == nil {
			continue
		}
		id := l.record(name).Accepted
		request := memcluster.JoinRequest{Token: in.Token, EKHash: h.TPM.EKHash(), Cert: id.EKCert, Serial: id.EKSerial}
		if err := l.cluster.Admits(request); err != nil {
			l.t.Errorf("%s: %s can't renew with %s: %v (%s)", when, name, in.Token, err, l.in(tokens...))
		}
	}
}

func TestAChangedBotOfAHostLocksItOutOfNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.set("web-02", "fleetctl_bot", map[string]any{"name": "db", "roles": []any{"access"}})
	l.choose("web-01")
	l.enrolled()
	l.wantIn("another one was chosen", "web-01: fleet; web-02: fleet", "fleet", "fleet-db")
	l.choose("web-01", "web-02")
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	l.wantIn("before the host has it", "web-01: fleet; web-02: fleet fleet-db", "fleet", "fleet-db")
	l.enrolled()
	l.wantIn("afterwards", "web-01: fleet; web-02: fleet-db", "fleet", "fleet-db")
}

// TestTctlDiesBetweenTwoTokensOfASwap dies at every write in turn.
func TestTctlDiesBetweenTwoTokensOfASwap(t *testing.T) {
	t.Parallel()
	db := map[string]any{"name": "db", "roles": []any{"access"}}
	for at := range 6 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.set("web-02", "fleetctl_bot", db)
			l.enrolled()
			l.set("web-02", "fleetctl_bot", nil)
			l.set("web-01", "fleetctl_bot", db)
			writes, dead := 0, false
			l.cluster.Before = func(c memcluster.Command) error {
				if c.Verb == "create" || c.Verb == "rm" {
					dead = dead || writes == at
					writes++
				}
				if dead {
					return errors.New("connection refused")
				}
				return nil
			}
			_, _ = l.enroll()
			l.wantJoinable("tctl died", "fleet", "fleet-db")
			l.cluster.Before = nil
			if _, err := l.enroll(); err != nil {
				t.Fatal(err)
			}
			l.wantIn("and came back", "web-01: fleet-db; web-02: fleet", "fleet", "fleet-db")
		})
	}
}

// Two files of fleetctl in one directory, without a fleet's name, share the records: the second is a change of policy, which
// a person confirms, and takes no rule.
func TestTwoFilesThatShareRecordsAreAChangeOfPolicy(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.Config.Token.Name = "second"
	if _, err := l.tokens(TokensOptions{Apply: true}); !errors.Is(err, ErrPolicy) {
		t.Errorf("%v", err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true, AcceptPolicy: true}); err != nil {
		t.Fatal(err)
	}
	l.wantIn("both", "web-01: fleet second; web-02: fleet second", "fleet", "second")
}

// A file or a clock decides over nobody.

func TestAnotherManufacturersCAsMoveNobodyUnasked(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.certify("web-01", "web-02")
	l.enrolled()
	l.Config.Token.EKCertCAs = []string{anotherCA(t)}
	if _, err := l.enroll(); !errors.Is(err, ErrPolicy) {
		t.Fatalf("nobody confirmed it: %v", err)
	}
	l.choose("web-01")
	if _, err := l.enroll(acceptPolicy); err != nil {
		t.Fatal(err)
	}
	l.wantJoinable("one of them has moved", "fleet", "fleet-hash-only")
	l.wantIn("one of them", "web-01: fleet-hash-only; web-02: fleet", "fleet", "fleet-hash-only")
}

func TestAWrongClockMovesNobodyAndRefusesNobody(t *testing.T) {
	t.Parallel()
	for _, year := range []int{1970, 2036} {
		for _, without := range []string{"hash-only", "refuse"} {
			t.Run(fmt.Sprint(year, without), func(t *testing.T) {
				t.Parallel()
				l := newLab(t, 2)
				l.certify("web-01", "web-02")
				l.Config.Token.WithoutEKCert = without
				l.enrolled()
				before := len(l.cluster.Commands())
				l.Now = func() time.Time { return time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC) }
				if report, err := l.enroll(); err != nil {
					t.Errorf("%v: %s\n%s", err, told(report.Results), messages(report.Results))
				}
				if got := l.asked(before); slices.Contains(got, "create") || slices.Contains(got, "rm") {
					t.Errorf("the run wrote: %v", got)
				}
				l.wantIn("by a wrong clock", "web-01: fleet; web-02: fleet", "fleet", "fleet-hash-only")
			})
		}
	}
}

// The check of certificates goes only when a person has said so.
func TestADeletedLineOfCAsIsConfirmedByAPerson(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.certify("web-01", "web-02")
	l.enrolled()
	l.Config.Token.EKCertCAs = nil
	before := len(l.cluster.Commands())
	if _, err := l.tokens(TokensOptions{Apply: true}); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "token.ekcert_cas: 1 certificates → 0") {
		t.Errorf("%v", err)
	}
	if _, err := l.enroll(); !errors.Is(err, ErrPolicy) {
		t.Errorf("%v", err)
	}
	if got := l.asked(before); slices.Contains(got, "create") {
		t.Errorf("the check was dropped unasked: %v", got)
	}
	if _, err := l.tokens(TokensOptions{Apply: true, AcceptPolicy: true}); err != nil {
		t.Error(err)
	}
	l.wantJoinable("without a check", "fleet")
}

// A token that is not ours is not taken over.

func TestATokenForSomethingElseIsNotTakenOver(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]string{
		"another join method": "{roles: [Node], join_method: iam, allow: [{aws_account: \"123456789012\"}]}",
		"another bot": "{roles: [Bot], join_method: tpm, bot_name: other, tpm: {allow: [{description: old, ek_public_hash: " +
			enrolltest.Hash(77) + "}]}}",
		"agents": "{roles: [Node], join_method: tpm, tpm: {allow: [{ek_public_hash: " + enrolltest.Hash(77) + "}]}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			l.put("kind: token\nversion: v2\nmetadata: {name: fleet}\nspec: " + spec + "\n")
			var before, after any
			if err := l.Cluster.Get(t.Context(), "token", "fleet", &before); err != nil {
				t.Fatal(err)
			}
			for _, run := range []func() error{
				func() error { _, err := l.enroll(); return err },
				func() error { _, err := l.tokens(TokensOptions{Apply: true}); return err },
			} {
				if err := run(); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "something else") {
					t.Errorf("%v", err)
				}
			}
			if err := l.Cluster.Get(t.Context(), "token", "fleet", &after); err != nil || fmt.Sprint(after) != fmt.Sprint(before) || l.files() != "" {
				t.Errorf("%v: %v became %v; files %q", err, before, after, l.files())
			}
		})
	}
}

// TestWhatIsNotFoundIsNotAlwaysTheToken: tctl speaks of an identity file, and nothing is overwritten.
func TestWhatIsNotFoundIsNotAlwaysTheToken(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.put(foreign("fleet", "{ek_public_hash: "+enrolltest.Hash(77)+"}"))
	l.cluster.Before = func(c memcluster.Command) error {
		if c.Verb == "get" && strings.HasPrefix(c.Args[1], "token/") {
			return errors.New("identity file /etc/tctl/identity not found")
		}
		return nil
	}
	before := len(l.cluster.Commands())
	if _, err := l.enroll(); err == nil || errors.Is(err, tctl.ErrNoResource) {
		t.Errorf("%v", err)
	}
	if got := l.asked(before); slices.Contains(got, "create") {
		t.Errorf("%v", got)
	}
	if got := l.cluster.Rules("fleet"); !slices.Equal(got, []string{enrolltest.Hash(77)}) {
		t.Errorf("rules %v", got)
	}
}

// TestHostsThatCannotBeEnrolledSpendNoBudget: what facts show to be impossible is no failure of the rollout.
func TestHostsThatCannotBeEnrolledSpendNoBudget(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	l.Config.Rollout.Canary, l.Config.Rollout.MaxFailures = 1, "0"
	for _, name := range []string{"web-01", "web-03"} {
		l.with(name, func(s *enrolltest.State) { delete(s.Files, "/usr/local/bin/tbot") })
	}
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed no-tbot, web-02 changed, web-03 failed no-tbot, web-04 changed", outcome.ErrHostsFailed)
}
