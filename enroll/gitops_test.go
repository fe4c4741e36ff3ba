package enroll

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/outcome"
)

// pipeline applies the files of out/ as somebody else's program does.
func (l *lab) pipeline() {
	l.t.Helper()
	for name := range strings.FieldsSeq(l.files()) {
		if text := l.readFile(name); strings.Contains(text, "kind: token") || strings.Contains(text, "kind: bot") {
			l.put(text)
		}
	}
}

// TestSomebodyElseAppliesAMove: git holds the files, a pipeline applies them, and the joins that an enroll of hosts alone has
// verified end the old rules.
func TestSomebodyElseAppliesAMove(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.Config.Token.Name = "prod"
	install := func(o *EnrollOptions) { o.InstallOnly = true }
	l.heard.forget()
	if _, err := l.tokens(TokensOptions{AcceptPolicy: true}); err != nil {
		t.Fatal(err)
	}
	if len(heard[HalfWay](l)) != 1 {
		t.Error("nobody says that this is half of it")
	}
	asked := l.Cluster
	l.Cluster = nil // who installs has no tctl
	report, err := l.enroll(install)
	l.check("nobody has seen the rules", report.Results, err, "web-01 failed rule-not-seen, web-02 failed rule-not-seen", outcome.ErrHostsFailed)
	l.Cluster = asked
	if _, err := l.tokens(TokensOptions{Diff: true, Check: true}); !errors.Is(err, outcome.ErrChanges) {
		t.Errorf("before the pipeline: %v", err)
	}
	l.pipeline()
	if _, err := l.tokens(TokensOptions{Diff: true, Check: true}); err != nil {
		t.Errorf("after the pipeline: %v", err)
	}
	l.Cluster = nil
	report, err = l.enroll(install)
	l.check("seen", report.Results, err, "web-01 changed, web-02 changed", nil)
	l.Cluster = asked
	l.heard.forget()
	if _, err := l.tokens(TokensOptions{}); err != nil {
		t.Error(err)
	}
	if len(heard[HalfWay](l)) != 0 {
		t.Error("it is no half any more")
	}
	if _, err := os.Stat(filepath.Join(l.out, "fleet.yaml")); err == nil {
		t.Errorf("the old token's file is still there:\n%s", l.readFile("fleet.yaml"))
	}
	l.wantIn("the cluster is the pipeline's", "web-01: fleet prod; web-02: fleet prod", "fleet", "prod")
}

// A join that an earlier run has seen ends nothing, though the cluster's times are finer than those of the records: since then
// somebody else may have configured the host with the other token, and it joins with that one at its next renewal.
func TestAnOldJoinEndsNoTokenThatCameLater(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	for _, name := range []string{"fleet", "prod", "fleet", "fleet", "fleet"} {
		l.Config.Token.Name = name
		l.applies()
	}
	if got := l.admits("web-01", "fleet", "prod"); got != "fleet prod" {
		t.Errorf("web-01, which may have token prod by now, is admitted by %q", got)
	}
}

// A machine that joins with a token of somebody else's making has that one, and it is nothing that we make.
func TestAJoinWithSomebodyElsesTokenPlansNone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.applies()
	l.put("kind: token\nversion: v2\nmetadata: {name: by-hand}\nspec: {roles: [Bot], bot_name: " + l.Config.Bot.Name +
		", join_method: tpm, tpm: {allow: [{ek_public_hash: \"" + l.host["web-01"].TPM.EKHash() + "\"}]}}\n")
	if err := l.cluster.Join(memcluster.JoinRequest{Token: "by-hand", EKHash: l.host["web-01"].TPM.EKHash()}); err != nil {
		t.Fatal(err)
	}
	l.applies()
	l.applies()
	if got := l.waysOf("web-01"); strings.Contains(got, "by-hand") || l.admits("web-01", "fleet") != "fleet" {
		t.Errorf("web-01 may have %q, and is admitted by %q", got, l.admits("web-01", "fleet"))
	}
}

func TestHostsAloneAreNotConfiguredForAnEKThatTheyHaveNoMore(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	if _, err := l.enroll(func(o *EnrollOptions) { o.TokensOnly = true }); err != nil {
		t.Fatal(err)
	}
	l.host["web-01"].TPM = newTPM(t, 77)
	if _, err := l.scan(); !errors.Is(err, outcome.ErrHostsFailed) {
		t.Fatal(err)
	}
	report, err := l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
	l.check("hosts alone", report.Results, err, "web-01 failed changed-ek", outcome.ErrHostsFailed)
}

// What was seen once may have left the cluster since: another controller has moved the host, or somebody took the rule out.
func TestARuleThatHasLeftTheClusterInstallsNothing(t *testing.T) {
	t.Parallel()
	install := func(o *EnrollOptions) { o.InstallOnly = true }
	for name, change := range map[string]func(l *lab){
		"the rule":  func(l *lab) { l.put(without(l.readFile("fleet.yaml"), "web-01")) },
		"the token": func(l *lab) { l.cluster.Delete("token/fleet") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.enrolled()
			change(l)
			before := l.trees()
			l.Config.Tbot.DiagAddr = "127.0.0.1:3999" // there is something to do
			report, err := l.enroll(install)
			if !errors.Is(err, outcome.ErrHostsFailed) {
				t.Errorf("%v", err)
			}
			for _, r := range report.Results {
				if r.Host == "web-01" && r.Code != outcome.RuleNotSeen {
					t.Errorf("%s: %s %s %s", r.Host, r.Outcome, r.Code, r.Message)
				}
			}
			if after := l.trees(); name == "the token" && after != before {
				t.Errorf("hosts were changed: %s", after)
			}
		})
	}
}

// without is a token's document without the rule of a host.
func without(document, host string) string {
	lines := strings.Split(document, "\n")
	i := slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, "- description:") && strings.Contains(s, host) })
	return strings.Join(slices.Delete(lines, i, i+2), "\n")
}

// The joins that nobody here verifies end old rules: that they can't be read is said, unless the cluster is too old to have them.
func TestJoinsThatCannotBeReadAreSaid(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.cluster.Before = func(c memcluster.Command) error {
		if asksJoins(c) {
			return errors.New("access denied")
		}
		return nil
	}
	l.heard.forget()
	if _, err := l.tokens(TokensOptions{Diff: true}); err != nil {
		t.Fatal(err)
	}
	if n := heard[ClusterSilent](l); len(n) != 1 || n[0].About != AboutJoins {
		t.Errorf("%+v", n)
	}
	l.cluster.Version = "15.4.0"
	l.heard.forget()
	if _, err := l.tokens(TokensOptions{Diff: true}); err != nil || len(heard[ClusterSilent](l)) > 0 {
		t.Errorf("an old cluster: %v, %+v", err, heard[ClusterSilent](l))
	}
}
