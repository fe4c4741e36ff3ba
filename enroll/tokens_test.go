package enroll

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

// scanned is a lab whose hosts have been scanned.
func scanned(t *testing.T, n int) *lab {
	t.Helper()
	l := newLab(t, n)
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	return l
}

// files are the names in the directory of files.
func (l *lab) files() string {
	entries, err := os.ReadDir(l.out)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// paths are the paths of notes, without the directory of files.
func (l *lab) paths(all ...string) string {
	for i, p := range all {
		all[i] = strings.TrimPrefix(p, l.out+string(filepath.Separator))
	}
	return strings.Join(all, " ")
}

func (l *lab) written() string {
	var out []string
	for _, n := range heard[FileWritten](l) {
		out = append(out, n.Path)
	}
	return l.paths(out...)
}

func (l *lab) differing() string {
	var out []string
	for _, n := range heard[FileDiffers](l) {
		out = append(out, n.Path)
	}
	return l.paths(out...)
}

func TestOptionsOfTokensThatContradictEachOther(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts TokensOptions
	}{
		{"adopt and prune", TokensOptions{Adopt: true, Prune: true, Apply: true}},
		{"a dry run that applies", TokensOptions{Check: true, Apply: true}},
		{"a dry run that adopts", TokensOptions{Check: true, Adopt: true}},
		{"pruning what nobody looks at", TokensOptions{Prune: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			_, err := l.tokens(tt.opts)
			if !errors.Is(err, outcome.ErrInput) || l.runs() != "" || len(l.cluster.Commands()) != 0 {
				t.Errorf("%v; runs %q, %d commands", err, l.runs(), len(l.cluster.Commands()))
			}
		})
	}
}

func TestTokensAreWrittenInEveryFormat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ format, files, says string }{
		{token.FormatTctl, "bot.yaml fleet.yaml", "ek_public_hash: "},
		{"", "bot.yaml fleet.yaml", "join_method: tpm"},
		{token.FormatTerraform, "fleet.tf.json", `"teleport_provision_token"`},
		{token.FormatKubernetes, "fleet.k8s.yaml", "kind: TeleportProvisionToken"},
	} {
		t.Run(tt.format, func(t *testing.T) {
			t.Parallel()
			l := scanned(t, 2)
			dry, err := l.tokens(TokensOptions{Format: tt.format, Check: true})
			if !errors.Is(err, outcome.ErrChanges) || l.differing() != tt.files || l.files() != "" || dry.Set == nil {
				t.Errorf("dry run: %v, differ %q, there are %q", err, l.differing(), l.files())
			}
			if l.record("web-01").Token != "" {
				t.Error("the dry run noted a token in the records")
			}
			l.heard.forget()
			report, err := l.tokens(TokensOptions{Format: tt.format})
			if err != nil || l.files() != tt.files || l.written() != tt.files {
				t.Errorf("%v, written %q, there are %q", err, l.written(), l.files())
			}
			if notes := heard[TokensMade](l); len(notes) != 1 || notes[0].Set != report.Set || report.Diff != nil {
				t.Errorf("notes %+v, diff %v", notes, report.Diff)
			}
			name := strings.Fields(tt.files)
			text, err := os.ReadFile(filepath.Join(l.out, name[len(name)-1]))
			if err != nil || !strings.Contains(string(text), tt.says) || !strings.Contains(string(text), l.host["web-02"].TPM.EKHash()) {
				t.Errorf("%v: %s", err, text)
			}
			l.heard.forget()
			if _, err := l.tokens(TokensOptions{Format: tt.format}); err != nil || l.written() != "" {
				t.Errorf("again: %v, written %q", err, l.written())
			}
			if _, err := l.tokens(TokensOptions{Format: tt.format, Check: true}); err != nil {
				t.Errorf("dry run afterwards: %v", err)
			}
			if l.record("web-01").Token != "fleet" || len(l.cluster.Commands()) != 0 {
				t.Errorf("token %q, %d commands", l.record("web-01").Token, len(l.cluster.Commands()))
			}
		})
	}
	t.Run("none of them", func(t *testing.T) {
		t.Parallel()
		l := scanned(t, 1)
		if _, err := l.tokens(TokensOptions{Format: "xml"}); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%v", err)
		}
		if got := l.runs(); got != "scan done, tokens failed" {
			t.Errorf("runs: %s", got)
		}
	})
}

func TestTokensAreComparedAndApplied(t *testing.T) {
	t.Parallel()
	l := scanned(t, 2)
	report, err := l.tokens(TokensOptions{Check: true, Diff: true})
	if !errors.Is(err, outcome.ErrChanges) || report.Diff == nil || report.Diff.Empty(false) || l.files() != "" {
		t.Errorf("dry run that compares: %v, %+v, files %q", err, report.Diff, l.files())
	}
	report, err = l.tokens(TokensOptions{Diff: true})
	if err != nil || report.Diff.Empty(false) || len(report.Applied) > 0 || l.files() != "" {
		t.Errorf("comparing: %v, %+v, files %q", err, report, l.files())
	}
	if got := l.asked(0); slices.Contains(got, "create") || slices.Contains(got, "rm") {
		t.Errorf("the cluster was asked to %v", got)
	}
	report, err = l.tokens(TokensOptions{Apply: true})
	if want := []string{"bot/fleet", "token/fleet"}; err != nil || !slices.Equal(report.Applied, want) || report.Diff.Empty(false) {
		t.Errorf("applying: %v, %+v", err, report)
	}
	var applied []string
	for _, n := range heard[Applied](l) {
		applied = append(applied, n.What)
	}
	if !slices.Equal(applied, report.Applied) {
		t.Errorf("notes %v", applied)
	}
	want := []string{l.host["web-01"].TPM.EKHash(), l.host["web-02"].TPM.EKHash()}
	if got := l.cluster.Rules("fleet"); !slices.Equal(got, want) {
		t.Errorf("rules %v, want %v", got, want)
	}
	l.heard.forget()
	mark := len(l.cluster.Commands())
	if report, err = l.tokens(TokensOptions{Apply: true}); err != nil || len(report.Applied) > 0 {
		t.Errorf("again: %v, %v", err, report.Applied)
	}
	if notes := heard[ClusterAsItShouldBe](l); len(notes) != 1 || !notes[0].Applying || slices.Contains(l.asked(mark), "create") {
		t.Errorf("notes %+v, asked to %v", notes, l.asked(mark))
	}
	l.heard.forget()
	if _, err = l.tokens(TokensOptions{Check: true, Diff: true}); err != nil {
		t.Errorf("dry run afterwards: %v", err)
	}
	if notes := heard[ClusterAsItShouldBe](l); len(notes) != 1 || notes[0].Applying {
		t.Errorf("notes %+v", notes)
	}
}

func TestRolesOfABotStayUnlessAsked(t *testing.T) {
	t.Parallel()
	l := scanned(t, 1)
	if err := l.cluster.Put("kind: bot\nversion: v1\nmetadata: {name: fleet}\nspec: {roles: [other]}\n"); err != nil {
		t.Fatal(err)
	}
	report, err := l.tokens(TokensOptions{Apply: true})
	if err != nil || !slices.Equal(report.Applied, []string{"token/fleet"}) {
		t.Errorf("%v, %v", err, report.Applied)
	}
	if kept := heard[RolesKept](l); len(kept) != 1 || kept[0].Bot.Name != "fleet" || !slices.Equal(kept[0].Bot.Have, []string{"other"}) {
		t.Errorf("kept %+v", kept)
	}
	report, err = l.tokens(TokensOptions{Apply: true, Roles: true})
	if err != nil || !slices.Equal(report.Applied, []string{"bot/fleet"}) {
		t.Errorf("with roles: %v, %v", err, report.Applied)
	}
}

// foreign adds rules to token fleet as another administrator does, who leaves the rest of it as it was written last.
func (l *lab) foreign(rules ...string) {
	l.t.Helper()
	doc, err := os.ReadFile(filepath.Join(l.out, "fleet.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	more := "allow:\n      - " + strings.Join(rules, "\n      - ") + "\n"
	if !strings.Contains(string(doc), "    allow:\n      - ") {
		l.t.Fatalf("no rules in %s", doc)
	}
	if err := l.cluster.Put(strings.Replace(string(doc), "allow:\n", more, 1)); err != nil {
		l.t.Fatal(err)
	}
}

func TestRulesOfOthersStayUntilTheyArePruned(t *testing.T) {
	t.Parallel()
	l := scanned(t, 1)
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	l.foreign(`{description: old box, ek_public_hash: "` + enrolltest.Hash(77) + `"}`)
	report, err := l.tokens(TokensOptions{Apply: true})
	if err != nil || len(report.Applied) > 0 || len(l.cluster.Rules("fleet")) != 2 {
		t.Errorf("%v, %v, rules %v", err, report.Applied, l.cluster.Rules("fleet"))
	}
	report, err = l.tokens(TokensOptions{Diff: true, Prune: true, Check: true})
	if !errors.Is(err, outcome.ErrChanges) || len(report.Diff.Tokens[0].Pruned) != 1 || len(l.cluster.Rules("fleet")) != 2 {
		t.Errorf("dry run: %v, %+v", err, report.Diff)
	}
	report, err = l.tokens(TokensOptions{Apply: true, Prune: true})
	if err != nil || !slices.Equal(report.Applied, []string{"token/fleet"}) {
		t.Errorf("%v, %v", err, report.Applied)
	}
	if got := l.cluster.Rules("fleet"); !slices.Equal(got, []string{l.host["web-01"].TPM.EKHash()}) {
		t.Errorf("rules %v", got)
	}
}

func TestHostsAreSpreadAnewOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	l := scanned(t, 4)
	l.Config.Token.MaxRules = 2
	layout := func(opts TokensOptions) string {
		report, err := l.tokens(opts)
		if err != nil {
			t.Error(err)
			return ""
		}
		var out []string
		for _, tok := range report.Set.Tokens {
			out = append(out, tok.Name+":")
			for _, r := range tok.Rules {
				out = append(out, r.Host)
			}
		}
		return strings.Join(out, " ")
	}
	const spread = "fleet: web-01 web-02 fleet-2: web-03 web-04"
	if got := layout(TokensOptions{Apply: true}); got != spread {
		t.Errorf("got %s", got)
	}
	l.Config.Token.MaxRules = 10
	if got := layout(TokensOptions{Apply: true}); got != spread {
		t.Errorf("with more room: %s", got)
	}
	if got := layout(TokensOptions{Apply: true, Rebalance: true}); got != "fleet: web-01 web-02 web-03 web-04 fleet-2: web-03 web-04" {
		t.Errorf("anew, before the hosts have the new token: %s", got)
	}
	if got := layout(TokensOptions{Apply: true, Contract: []string{"web-03", "web-04"}}); got != "fleet: web-01 web-02 web-03 web-04" {
		t.Errorf("when a person says that they have it: %s", got)
	}
	if got := l.record("web-04").Token; got != "fleet" {
		t.Errorf("web-04 has token %q", got)
	}
	if l.cluster.Rules("fleet-2") != nil {
		t.Errorf("the token without hosts stays: %v", l.cluster.Rules("fleet-2"))
	}
}

// A person's word that a host has its planned token alone can be wrong where nobody can see it; not where the token is new.
func TestNoHostHasATokenAloneThatNobodyHasSeen(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.Config.Token.Name = "prod"
	for _, tt := range []struct {
		host, want string
	}{
		{"web-01", "web-01 can't have token prod alone: no rule of it there has been seen in the cluster"},
		{"web-09", "web-09 has no token alone: no record of it has an accepted EK"},
	} {
		for _, opts := range []TokensOptions{{Apply: true}, {Diff: true, Check: true}, {}} {
			opts.Contract, opts.AcceptPolicy = []string{tt.host}, true
			if _, err := l.tokens(opts); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: %v", opts, err)
			}
		}
	}
	if l.admits("web-01", "fleet") == "" || !slices.Equal(l.cluster.Tokens(), []string{"fleet"}) || l.record("web-01").Token != "fleet" {
		t.Errorf("tokens %v, rules %v, web-01 has %q", l.cluster.Tokens(), l.cluster.Rules("fleet"), l.record("web-01").Token)
	}
}

func TestHostsThatGetNoRuleAreNamed(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.certify("web-01", "web-03")
	l.Config.Token.WithoutEKCert = config.Refuse
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	report, err := l.tokens(TokensOptions{Apply: true})
	if !errors.Is(err, outcome.ErrHostsFailed) || !strings.Contains(err.Error(), "1 hosts") {
		t.Errorf("%v", err)
	}
	if r := report.Set.Refused; len(r) != 1 || r[0].Host != "web-02" || r[0].Code != outcome.NoEKCert {
		t.Errorf("refused %+v", r)
	}
	if len(l.cluster.Rules("fleet")) != 2 {
		t.Errorf("the others have rules %v", l.cluster.Rules("fleet"))
	}
	if got := l.runs(); got != "scan done, tokens done" {
		t.Errorf("runs: %s", got)
	}
}

func TestATctlThatFailsBetweenTwoTokens(t *testing.T) {
	t.Parallel()
	l := scanned(t, 4)
	l.Config.Token.MaxRules = 2
	creates := 0
	l.cluster.Before = func(c memcluster.Command) error {
		if c.Verb != "create" {
			return nil
		}
		if creates++; creates == 3 { // the bot, the first token, the second
			return errors.New("connection refused")
		}
		return nil
	}
	report, err := l.tokens(TokensOptions{Apply: true})
	if err == nil || !strings.Contains(err.Error(), "token fleet-2") || !slices.Equal(report.Applied, []string{"bot/fleet", "token/fleet"}) {
		t.Errorf("%v, applied %v", err, report.Applied)
	}
	if n := len(heard[Applied](l)); n != 2 || l.cluster.Rules("fleet-2") != nil {
		t.Errorf("%d notes, rules %v", n, l.cluster.Rules("fleet-2"))
	}
	if got := l.runs(); got != "scan done, tokens failed" {
		t.Errorf("runs: %s", got)
	}
	l.cluster.Before = nil
	report, err = l.tokens(TokensOptions{Apply: true})
	if err != nil || !slices.Equal(report.Applied, []string{"token/fleet-2"}) {
		t.Errorf("the next run: %v, applied %v", err, report.Applied)
	}
}

func TestAClusterThatCannotBeAskedEndsTokens(t *testing.T) {
	t.Parallel()
	for _, opts := range []TokensOptions{{Diff: true}, {Apply: true}, {Adopt: true}} {
		l := scanned(t, 1)
		l.cluster.Before = func(memcluster.Command) error { return errors.New("connection refused") }
		if _, err := l.tokens(opts); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

func TestADirectoryThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	l := scanned(t, 1)
	l.out = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(l.out, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true}); err == nil || slices.Contains(l.asked(0), "create") {
		t.Errorf("%v; the cluster was asked %d times", err, len(l.cluster.Commands()))
	}
	l.out = ""
	l.Inventory[0].Vars["fleetctl_bot"] = 7
	if _, err := l.tokens(TokensOptions{}); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("an inventory that cannot be read: %v", err)
	}
}

func TestAdoptTakesRulesOver(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	enrolltest.See(t, l.Store, "a", 1)
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	l.foreign(`{description: old box, ek_public_hash: "`+enrolltest.Hash(77)+`"}`, `{ek_public_hash: "`+enrolltest.Hash(78)+`"}`,
		`{description: a, ek_public_hash: "`+enrolltest.Hash(79)+`"}`, `{description: serial, ek_certificate_serial: "01"}`)
	l.heard.forget()
	report, err := l.tokens(TokensOptions{Adopt: true, Diff: true})
	if err != nil {
		t.Fatal(err)
	}
	var adopted []string
	for _, n := range heard[RuleAdopted](l) {
		adopted = append(adopted, n.Adoption.Token+"/"+n.Adoption.Host)
	}
	slices.Sort(adopted)
	if want := []string{"fleet/adopted-000000000000", "fleet/old box"}; !slices.Equal(adopted, want) {
		t.Errorf("adopted %q", adopted)
	}
	left := heard[RuleNotAdopted](l)
	if len(left) != 2 || !strings.Contains(left[0].Why+left[1].Why, "a host of this name has another identity") ||
		!strings.Contains(left[0].Why+left[1].Why, "no valid EKPub hash") {
		t.Errorf("left %+v", left)
	}
	if len(report.Set.Tokens) != 1 {
		t.Fatalf("tokens %+v", report.Set.Tokens)
	}
	var hosts []string
	for _, r := range report.Set.Tokens[0].Rules {
		hosts = append(hosts, r.Host)
	}
	if got := report.Set.Tokens[0].Name + ": " + strings.Join(hosts, " "); got != "fleet: a adopted-000000000000 old box" {
		t.Errorf("got %s", got)
	}
	d := report.Diff.Tokens[0]
	if len(d.Foreign) != 2 || len(d.Added)+len(d.Removed) != 0 {
		t.Errorf("diff %+v", d)
	}
	if len(report.Set.Unproven) != 2 {
		t.Errorf("unproven: %v", report.Set.Unproven)
	}
	rec := l.record("old box")
	if rec.Accepted.EKHash != enrolltest.Hash(77) || rec.Accepted.Proven || rec.Accepted.Via != viaAdopt || rec.Token != "fleet" {
		t.Errorf("record %+v, %+v", rec, rec.Accepted)
	}
}

func TestRulesThatNobodyCanTakeOver(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.certify("web-01")
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	l.foreign(`{description: x, ek_public_hash: "` + enrolltest.Hash(9) + `"}`)
	l.heard.forget()
	if _, err := l.tokens(TokensOptions{Adopt: true}); err != nil {
		t.Fatal(err)
	}
	left := heard[RuleNotAdopted](l)
	if len(left) != 1 || !strings.Contains(left[0].Why, "scan the host instead") || len(heard[RuleAdopted](l)) != 0 {
		t.Errorf("left %+v", left)
	}
	if _, err := l.Store.Record(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a record: %v", err)
	}
}
