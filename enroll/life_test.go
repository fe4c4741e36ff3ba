package enroll

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
)

// in says in which tokens of these the hosts have a rule: "web-01: fleet prod; web-02: fleet".
func (l *lab) in(tokens ...string) string {
	l.t.Helper()
	var all []string
	for _, h := range l.Inventory {
		all = append(all, strings.TrimSpace(h.Name+": "+l.admits(h.Name, tokens...)))
	}
	return strings.Join(all, "; ")
}

func (l *lab) wantIn(when, want string, tokens ...string) {
	l.t.Helper()
	if got := l.in(tokens...); got != want {
		l.t.Errorf("%s: %s, want %s", when, got, want)
	}
}

// anotherCA is a file with a CA that issued nothing of the fleet.
func anotherCA(t *testing.T) string {
	t.Helper()
	ca, err := softtpm.NewCA("Another maker")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cas.pem")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func acceptPolicy(o *EnrollOptions) { o.AcceptPolicy = true }

// The sequences by which hosts were locked out that nobody had removed.

func TestARenamedTokenKeepsTheRulesOfHostsThatDoNotHaveIt(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	l.Config.Token.Name = "prod"
	l.choose("web-01")
	if _, err := l.enroll(); !errors.Is(err, ErrPolicy) {
		t.Fatalf("nobody confirmed it: %v", err)
	}
	l.wantIn("refused", "web-01: fleet; web-02: fleet; web-03: fleet", "fleet", "prod")
	if _, err := l.enroll(acceptPolicy); err != nil {
		t.Fatal(err)
	}
	l.wantIn("one of them", "web-01: prod; web-02: fleet; web-03: fleet", "fleet", "prod")
	l.choose("web-01", "web-02", "web-03")
	l.enrolled()
	l.wantIn("all of them", "web-01: prod; web-02: prod; web-03: prod", "fleet", "prod")
	if err := l.Cluster.Get(t.Context(), "token", "fleet", new(any)); !errors.Is(err, tctl.ErrNoResource) {
		t.Errorf("the token that nobody has stays: %v", err)
	}
	if w := len(l.asked(0)); w > 0 {
		before := len(l.cluster.Commands())
		l.enrolled()
		if got := l.asked(before); slices.Contains(got, "create") || slices.Contains(got, "rm") {
			t.Errorf("a second run wrote: %v", got)
		}
	}
}

// failedMove is a fleet of three hosts on its way from token fleet to prod, whose canary web-01 has failed.
func failedMove(t *testing.T) *lab {
	t.Helper()
	l := newLab(t, 3)
	l.enrolled()
	l.Config.Token.Name, l.Config.Rollout.Canary = "prod", 1
	l.failing("web-01")
	if _, err := l.enroll(acceptPolicy); !errors.Is(err, outcome.ErrHostsFailed) {
		t.Fatal(err)
	}
	return l
}

func TestAFailedCanaryOfAnotherTokenLocksNobodyOut(t *testing.T) {
	t.Parallel()
	l := failedMove(t)
	l.wantIn("after the canary", "web-01: fleet prod; web-02: fleet prod; web-03: fleet prod", "fleet", "prod")
	file, err := os.ReadFile(filepath.Join(l.out, "fleet.yaml"))
	if err != nil || !strings.Contains(string(file), "# kept until web-02 has joined with prod") {
		t.Errorf("%v\n%s", err, file)
	}
}

func TestLowerMaxRulesMoveHostsWithoutLockingThemOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	l.Config.Token.MaxRules = 2
	l.choose("web-01")
	l.enrolled()
	l.wantIn("one of them", "web-01: fleet; web-02: fleet; web-03: fleet", "fleet", "fleet-2")
	l.choose("web-01", "web-02", "web-03")
	l.enrolled()
	l.wantIn("all of them", "web-01: fleet; web-02: fleet; web-03: fleet-2", "fleet", "fleet-2")
}

func TestGroupsThatSwapBotsAreAlwaysInOneToken(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	db := map[string]any{"name": "db", "roles": []any{"access"}}
	l.set("web-02", "fleetctl_bot", db)
	l.enrolled()
	l.wantIn("before", "web-01: fleet; web-02: fleet-db", "fleet", "fleet-db")
	l.set("web-02", "fleetctl_bot", nil)
	l.set("web-01", "fleetctl_bot", db)
	l.choose("web-01")
	l.enrolled()
	l.wantIn("one of them", "web-01: fleet-db; web-02: fleet-db", "fleet", "fleet-db")
	l.choose("web-01", "web-02")
	l.enrolled()
	l.wantIn("both", "web-01: fleet-db; web-02: fleet", "fleet", "fleet-db")
}

// A file or a clock decides over nobody who is in.

func TestAnotherManufacturersCAsTakeNobodyOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	cas := anotherCA(t)
	l.Config.Token.EKCertCAs, l.Config.Token.WithoutEKCert = []string{cas}, "refuse"
	if _, err := l.tokens(TokensOptions{Apply: true}); !errors.Is(err, ErrPolicy) {
		t.Errorf("nobody confirmed it: %v", err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true, AcceptPolicy: true}); !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("refused hosts are said: %v", err)
	}
	l.wantIn("refused by the policy", "web-01: fleet; web-02: fleet", "fleet")
}

// A token that is not ours is not taken over.

func TestAHandMadeTokenIsNotTakenOver(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.put("kind: token\nversion: v2\nmetadata: {name: fleet}\nspec: {roles: [Bot], join_method: tpm, bot_name: fleet, tpm: {allow: [{description: old, ek_public_hash: " +
		enrolltest.Hash(77) + "}]}}\n")
	for range 2 { // the second time, the records know what they would have written
		_, err := l.enroll()
		if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "somebody else made it") {
			t.Errorf("%v", err)
		}
	}
	if got := l.cluster.Rules("fleet"); !slices.Equal(got, []string{enrolltest.Hash(77)}) || l.files() != "" {
		t.Errorf("rules %v, files %q", got, l.files())
	}
}

func TestATokenOfAnotherFleetIsNotTakenOver(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.put("kind: token\nversion: v2\nmetadata: {name: fleet, labels: {fleetctl.dev/fleet: other, fleetctl.dev/epoch: \"3\"}}\n" +
		"spec: {roles: [Bot], join_method: tpm, bot_name: fleet, tpm: {allow: [{description: old, ek_public_hash: " + enrolltest.Hash(77) + "}]}}\n")
	if _, err := l.enroll(); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "it belongs to fleet other") {
		t.Errorf("%v", err)
	}
}

func TestTwoFleetsDoNotShareRecords(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.Config.Fleet = "one"
	l.enrolled()
	l.Config.Fleet, l.Config.Token.Name = "two", "two"
	if _, err := l.enroll(acceptPolicy); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "records of fleet one") {
		t.Errorf("%v", err)
	}
}

// What the cluster knows and the records don't.

func TestLostRecordsTakeNobodyOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.Config.Token.MaxRules = 1
	l.enrolled()
	before := l.in("fleet", "fleet-2", "fleet-3")
	l.Store = enrolltest.Store(t)
	l.Config.Token.MaxRules = 10
	for range 3 {
		if _, err := l.enroll(); err != nil && !errors.Is(err, outcome.ErrHostsFailed) {
			t.Fatal(err)
		}
	}
	for _, part := range strings.Split(before, "; ") {
		host, was, _ := strings.Cut(part, ": ")
		if now := l.admits(host, strings.Fields(was)...); now != was {
			t.Errorf("%s was in %s, and is in %q", host, was, now)
		}
	}
}

func TestAnOldFileThatIsAppliedAgainIsBehind(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	old, err := os.ReadFile(filepath.Join(l.out, "fleet.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-02"}, Yes: true}); err != nil {
		t.Fatal(err)
	}
	l.put(string(old))
	report, err := l.tokens(TokensOptions{Diff: true})
	if !errors.Is(err, outcome.ErrHostsFailed) || report.Diff == nil {
		t.Fatalf("%v", err)
	}
	var kinds []token.AlarmKind
	for _, a := range report.Diff.Alarms() {
		kinds = append(kinds, a.Kind)
	}
	if !slices.Contains(kinds, token.AlarmBehind) {
		t.Errorf("alarms %v", report.Diff.Alarms())
	}
	if _, err := l.tokens(TokensOptions{Apply: true}); !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("it is put right, and said: %v", err)
	}
	l.wantIn("put right", "web-01: fleet; web-02:", "fleet")
}

func TestADeletedTokenComesBackWithAnAlarm(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.cluster.Delete("token/fleet")
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	alarms := heard[TokenAlarm](l)
	if len(alarms) == 0 || alarms[0].Alarm.Kind != token.AlarmDeleted {
		t.Errorf("%+v", alarms)
	}
	l.wantIn("again", "web-01: fleet; web-02: fleet", "fleet")
}

// The brake.

func TestMachinesThatNobodyNamedDoNotLoseTheirLastRule(t *testing.T) {
	t.Parallel()
	l := scanned(t, 3)
	asked := l.Cluster
	l.Cluster = nil
	if _, err := l.tokens(TokensOptions{}); err != nil {
		t.Fatal(err)
	}
	l.pipeline() // nobody has looked at what it did: rules that were seen are kept in doubt
	l.Cluster = asked
	var ways []string
	for w, err := range l.Store.Ways(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ways = append(ways, w.Token)
		if err := l.Store.DropWays(t.Context(), w); err != nil { // whatever fault of ours it were
			t.Fatal(err)
		}
	}
	l.Config.Token.WithoutEKCert = "refuse"
	cas := anotherCA(t)
	l.Config.Token.EKCertCAs = []string{cas}
	_, err := l.tokens(TokensOptions{Apply: true, AcceptPolicy: true})
	if !errors.Is(err, token.ErrRemovals) || len(ways) == 0 {
		t.Errorf("%v", err)
	}
	l.wantIn("refused", "web-01: fleet; web-02: fleet; web-03: fleet", "fleet")
	for _, n := range []int{2, 4} {
		if _, err := l.tokens(TokensOptions{Apply: true, AllowRemovals: n}); !errors.Is(err, token.ErrRemovals) {
			t.Errorf("%d allowed: %v", n, err)
		}
	}
	if _, err := l.tokens(TokensOptions{Apply: true, AllowRemovals: 3}); !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("just that number: %v", err)
	}
	l.wantIn("allowed", "web-01:; web-02:; web-03:", "fleet")
}

// A plan.

func TestAPlanIsAppliedAsItWasShownOrNotAtAll(t *testing.T) {
	t.Parallel()
	l := scanned(t, 2)
	report, err := l.tokens(TokensOptions{Diff: true, Check: true})
	if !errors.Is(err, outcome.ErrChanges) {
		t.Fatal(err)
	}
	plan := report.Set.Propose(*report.Diff)
	l.put("kind: bot\nversion: v1\nmetadata: {name: fleet}\nspec: {roles: [other]}\n")
	if _, err := l.tokens(TokensOptions{Apply: true, Proposal: &plan}); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "bot/fleet") {
		t.Errorf("the cluster has changed: %v", err)
	}
	l.cluster.Delete("bot/fleet")
	if _, err := l.tokens(TokensOptions{Apply: true, Proposal: &plan}); err != nil {
		t.Error(err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true, Proposal: &plan}); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("a second time: %v", err)
	}
}

// TestOthersKeepTheirWords: a narrowed run leaves the rules of other hosts as they are, to the letter.
func TestOthersKeepTheirWords(t *testing.T) {
	t.Parallel()
	l := scanned(t, 2)
	for i, h := range l.Inventory {
		if h.Name == "web-02" {
			l.Inventory[i].Name = "we\ab 02"
		}
	}
	if err := l.Store.Rename(t.Context(), "web-02", "we\ab 02"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	file := func() string {
		content, err := os.ReadFile(filepath.Join(l.out, "fleet.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	before := file()
	if !strings.Contains(before, "we_b 02 [") {
		t.Fatalf("no odd name in\n%s", before)
	}
	if _, err := l.tokens(TokensOptions{Apply: true, Only: []string{"web-01"}}); err != nil {
		t.Fatal(err)
	}
	if after := file(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// TestAnEpochThatThereIsNot says nothing of what was seen.
func TestAnEpochThatThereIsNot(t *testing.T) {
	t.Parallel()
	l := scanned(t, 1)
	if _, err := l.tokens(TokensOptions{Applied: 99}); !errors.Is(err, outcome.ErrInput) {
		t.Fatal(err)
	}
	for r, err := range l.Store.Rules(t.Context()) {
		if err != nil || r.Seen {
			t.Errorf("%+v, %v", r, err)
		}
	}
}
