package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/token"
)

// everyNote has a note of each type, with what a person has to read of it.
var everyNote = []struct {
	note enroll.Note
	want string
}{
	{enroll.FileWritten{Path: "out/fleet.yaml"}, "out/fleet.yaml changed"},
	{enroll.FileDiffers{Path: "out/fleet.yaml"}, "out/fleet.yaml would change"},
	{enroll.Applied{What: "token/fleet"}, "applied token/fleet"},
	{enroll.RolesKept{Bot: token.BotChange{Name: "fleet", Have: []string{"other"}}}, "bot/fleet keeps its roles [other] (fleetctl tokens --apply --overwrite-roles"},
	{enroll.TokensMade{Set: &token.Set{
		Refused:  []token.Refusal{{Host: "web-01", Reason: outcome.Because(outcome.DuplicateEK, "like web-02")}},
		Unproven: strings.Fields("a b c d e f g h i j k l"),
		Moved:    []token.Move{{Host: "web-03", From: "fleet", To: "fleet-2"}},
	}}, "web-01: duplicate-ek: like web-02\n" +
		"fleetctl: web-01: hint: a cloned virtual TPM? If they are one machine under several names, set fleetctl_same_as on the others\n" +
		"fleetctl: 12 rules rest on identities that nobody has proven: a, b, c, d, e, f, g, h, i, j and 2 more\n" +
		"fleetctl: 1 hosts change token and need a new tbot configuration (fleetctl enroll):\n" +
		"fleetctl: web-03: fleet → fleet-2\n"},
	{enroll.ClusterDiffers{Diff: token.Diff{Tokens: []token.Change{{Name: "fleet", Action: token.ActionCreate, Added: []string{"web-01"}}}}}, "token fleet: create\nfleetctl:   + web-01\n"},
	{enroll.ClusterAsItShouldBe{}, "the cluster has everything as it should be\n"},
	{enroll.ClusterAsItShouldBe{Applying: true}, "nothing was applied"},
	{enroll.ClusterSilent{About: enroll.AboutTokens, Err: errors.New("denied")}, "bot and tokens are not compared with the cluster's: denied"},
	{enroll.ClusterSilent{About: enroll.AboutJoins, Err: errors.New("denied")}, "the cluster doesn't say which bots joined: denied"},
	{enroll.ClusterSilent{About: enroll.AboutVersion, Err: errors.New("denied")}, "the cluster's version is not known: denied"},
	{enroll.ClusterSilent{About: enroll.AboutAll, Err: errors.New("no tctl")}, "the cluster is not asked: no tctl"},
	{enroll.RuleAdopted{Adoption: enroll.Adoption{Host: "old", Token: "fleet"}}, "old: adopted from token fleet, unproven"},
	{enroll.RuleNotAdopted{Why: "it has no hash"}, "not adopted: it has no hash"},
	{enroll.HostRefused{Result: outcome.Result{Host: "web-01", Outcome: outcome.Failed, Reason: outcome.Because(outcome.DuplicateEK, "like web-02")}}, "web-01: duplicate-ek: like web-02"},
	{enroll.HostRefused{Result: outcome.Result{Host: "web-01", Outcome: outcome.OK, Warnings: []outcome.Warning{
		{Reason: outcome.Because(outcome.FindingIssuerUnknown, "the issuer is not known"), Fatal: true}, {Reason: outcome.Because(outcome.FindingROCA, "weak")}}}},
		"web-01: tbot will not join: the issuer is not known\nfleetctl: web-01: hint: add the certificate that directly issued it (fleetctl records --issuers names it)\n"},
	{enroll.NothingLeft{Command: "scan"}, "nothing to do: the last scan finished all of these hosts"},
	{enroll.RuleGone{Host: "web-01"}, "web-01: its rule and its record are gone; the host itself was not contacted"},
	{enroll.CredentialsLive{Bot: "fleet", Instances: []enroll.HostInstance{{Host: "web-01", Instance: "1-2"}}},
		"live on for up to 1h (tbot's default) after the last renewal; to end them now:\n" +
			"fleetctl:   tctl lock --bot-instance-id=1-2   # web-01 (Teleport 18 and later)\n" +
			"fleetctl:   tctl lock --user=bot-fleet --ttl=1h   # the bot with all of its hosts\n"},
	{enroll.CAsLeftOut{Used: 2, Left: []string{"cas.pem:7: not a CA"}}, "token.ekcert_cas: left out: cas.pem:7: not a CA\nfleetctl: token.ekcert_cas: 2 certificates are used, 1 things were left out\n"},
	{enroll.TbotIgnores{Warnings: []outcome.Warning{{Reason: outcome.Because(outcome.UnknownKey, "fleet.yaml:9: no tbot reads kyes")}}},
		"fleetctl: fleet.yaml:9: no tbot reads kyes\n"},
	{enroll.JoinsVerified{By: map[string]int{"readyz+cluster": 2, "cluster": 1}}, "joined, by who says so: cluster=1 readyz+cluster=2\n"},
	{enroll.HookFailed{Err: errors.New("a hook failed: after_run: exit status 1")}, "a hook failed: after_run: exit status 1"},
}

func TestEveryNoteHasWords(t *testing.T) {
	t.Parallel()
	var have []string
	for _, n := range everyNote {
		var stderr bytes.Buffer
		k := &console{app: &app{stderr: &stderr}}
		k.Note(n.note)
		name := reflect.TypeOf(n.note).Name()
		if !slices.Contains(have, name) {
			have = append(have, name)
		}
		if got := stderr.String(); !strings.Contains(got, n.want) || strings.Contains(got, fmt.Sprintf("%T", n.note)) {
			t.Errorf("%s says %q, want %q", name, got, n.want)
		}
		checkStderr(t, name, stderr.String())
	}
	slices.Sort(have)
	if want := declaredNotes(t); !slices.Equal(have, want) {
		t.Errorf("notes with words: %v\nnotes that are declared: %v", have, want)
	}
}

// declaredNotes are the types in package enroll that have the method note.
func declaredNotes(t *testing.T) []string {
	t.Helper()
	packages, err := parser.ParseDir(gotoken.NewFileSet(), "../../enroll", nil, parser.SkipObjectResolution) //nolint:staticcheck // build tags don't matter here
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range packages["enroll"].Files {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Name.Name != "note" || f.Recv == nil || len(f.Type.Params.List) > 0 {
				continue
			}
			if receiver, ok := f.Recv.List[0].Type.(*ast.Ident); ok {
				names = append(names, receiver.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// checkStderr holds the contract of stderr: every line names the program, is no more than a line, and has no full stop.
func checkStderr(t *testing.T, what, stderr string) {
	t.Helper()
	for line := range strings.Lines(stderr) {
		text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "fleetctl: ")
		if !ok || text == "" || strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "..") {
			t.Errorf("%s: a line on stderr is %q", what, line)
		}
	}
}
