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
	"time"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
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
	{enroll.ClusterSilent{About: enroll.AboutFleet, Err: errors.New("denied")}, "it is not known whether the fleet has tokens that these records don't know (as after they were lost): denied"},
	{enroll.ClusterSilent{About: enroll.AboutVersion, Err: errors.New("denied")}, "the cluster's version is not known: denied"},
	{enroll.ClusterSilent{About: enroll.AboutAll, Err: errors.New("no tctl")}, "the cluster is not asked: no tctl"},
	{enroll.KeysToTrust{Hosts: []enroll.KnownHost{{Host: "web-01", Address: "h:22", Keys: []enroll.KnownKey{
		{Type: "ssh-ed25519", Fingerprint: "SHA256:x"}, {Type: "ssh-rsa", Fingerprint: "SHA256:y", Vouched: enroll.ByFile}}}}},
		"web-01: h:22 ssh-ed25519 SHA256:x: trusted on first use\nfleetctl: web-01: h:22 ssh-rsa SHA256:y: fingerprints\n"},
	{enroll.RuleAdopted{Adoption: enroll.Adoption{Host: "old", Token: "fleet"}}, "old: adopted from token fleet, unproven"},
	{enroll.RuleNotAdopted{Why: "it has no hash"}, "not adopted: it has no hash"},
	{enroll.HostRefused{Result: outcome.Result{Host: "web-01", Outcome: outcome.Failed, Reason: outcome.Because(outcome.DuplicateEK, "like web-02")}}, "web-01: duplicate-ek: like web-02"},
	{enroll.HostRefused{Result: outcome.Result{Host: "web-01", Outcome: outcome.OK, Warnings: []outcome.Warning{
		{Reason: outcome.Because(outcome.FindingIssuerUnknown, "the issuer is not known"), Fatal: true}, {Reason: outcome.Because(outcome.FindingROCA, "weak")}}}},
		"web-01: tbot will not join: the issuer is not known\nfleetctl: web-01: hint: add the certificate that directly issued it (fleetctl records --issuers names it)\n"},
	{enroll.HostWarned{Host: "web-01", Reason: outcome.Because(outcome.DuplicateEK, "like web-02")}, "web-01: warning: duplicate-ek: like web-02\nfleetctl: web-01: hint: "},
	{enroll.TombstonesCount{File: "out/removed.yaml", Machines: []store.Machine{{Host: "web-01"}, {EKHash: strings.Repeat("a", 64)}}},
		"out/removed.yaml keeps 2 machines out that the records had lost: web-01, EK aaaaaaaaaaaa (fleetctl records readmit"},
	{enroll.ClockOff{Here: time.Unix(0, 0), Cluster: time.Unix(1e9, 0), Newest: store.Run{ID: 7, Command: "scan", Started: time.Unix(1e6, 0)}},
		"the clock here says 1970-01-01T00:00:00Z, the cluster's 2001-09-09T01:46:40Z, and run 7 (scan) of the records was at 1970-01-12T13:46:40Z: " +
			"dates of certificates are not judged; set the clock (when it is right: fleetctl records recover --clock)"},
	{enroll.PinsRotated{Cluster: "c", Was: []string{"a"}, Now: []string{"a", "b"}}, "cluster c rotates its CAs: its pins are a, b, and were a"},
	{enroll.ClusterSilent{About: enroll.AboutCluster, Err: errors.New("no name")}, "tctl speaks to the cluster of these records: no name"},
	{enroll.RecordsOld{Tokens: []string{"fleet", "prod"}}, "no rule leaves fleet, prod until \"fleetctl records recover\""},
	{enroll.HalfWay{}, "step 1 of 2: apply the files, then enroll, then run tokens again"},
	{enroll.RolloutStopped{Why: "a canary failed", Left: 5}, "the rollout stopped: a canary failed: 5 hosts not started\n"},
	{enroll.NothingLeft{Command: "scan"}, "nothing to do: the last scan finished all of these hosts"},
	{enroll.RuleGone{Host: "web-01"}, "web-01: its rule and its record are gone; the host itself was not contacted"},
	{enroll.CredentialsLive{Bot: "fleet", Instances: []enroll.HostInstance{{Host: "web-01", Instance: "1-2"}}},
		"live on for up to 1h (tbot's default) after the last renewal; to end them now:\n" +
			"fleetctl:   tctl lock --bot-instance-id=1-2   # web-01 (Teleport 18 and later)\n" +
			"fleetctl:   tctl lock --user=bot-fleet --ttl=1h   # the bot with all of its hosts\n"},
	{enroll.CredentialsLive{Bot: "fleet", NoLock: true, Instances: []enroll.HostInstance{{Host: "web-01", Instance: "1-2",
		Until: time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)}}}, "older than Teleport 18: a bot instance cannot be locked alone\n" +
		"fleetctl: credentials that were issued live on for up to 1h (tbot's default) after the last renewal; to end them now:\n" +
		"fleetctl:   tctl lock --bot-instance-id=1-2   # web-01, until 2026-11-23T07:00:00Z (Teleport 18 and later)\n"},
	{enroll.HostsLeave{Hosts: []enroll.Leaving{
		{Host: "a", EKs: []string{"00ff"}, Token: "fleet", Things: []string{"user teleport"}, Record: true},
		{Host: "b", With: "a"}, {Host: "c", With: "a", Alias: true}, {Host: "d", Chosen: true},
	}}, "a\nfleetctl:   - its rule in token fleet\nfleetctl:   - EK 00ff, whichever token has it\nfleetctl:   - user teleport\n" +
		"fleetctl:   - its record, once the host is done\nfleetctl: b, which presents the EK of a, too: an old or a new name of it, or a clone\n" +
		"fleetctl: c, another name of a\nfleetctl: d, chosen by a pattern\n"},
	{enroll.HostsLeave{Hosts: slices.Repeat([]enroll.Leaving{{Host: "a"}}, 60)}, "fleetctl: 60 hosts: a\n"},
	{enroll.StillAdmitted{Host: "a", Token: "theirs", EKHash: "00ff"}, "a: token theirs, which fleetctl did not write, still admits its EK 00ff\n"},
	{enroll.StillAdmitted{Host: "a", Token: "theirs", May: true, Why: "by a serial"}, "a: token theirs may admit it by a serial\n"},
	{enroll.UndoPending{Host: "a"}, "a: what enroll made on it is still there; fleetctl remove --resume"},
	{enroll.Locked{Instance: enroll.HostInstance{Host: "a", Instance: "1-2"}}, "a: bot instance 1-2 is locked\n"},
	{enroll.NotLocked{Instance: enroll.HostInstance{Host: "a"}, Err: errors.New("denied")}, "a: could not be locked: denied\n"},
	{enroll.ClusterSilent{About: enroll.AboutAdmitted, Err: errors.New("denied")}, "not all tokens could be read: denied"},
	{enroll.CAsLeftOut{Used: 2, Left: []string{"cas.pem:7: not a CA"}}, "token.ekcert_cas: left out: cas.pem:7: not a CA\nfleetctl: token.ekcert_cas: 2 certificates are used, 1 things were left out\n"},
	{enroll.TbotIgnores{Warnings: []outcome.Warning{{Reason: outcome.Because(outcome.UnknownKey, "fleet.yaml:9: no tbot reads kyes")}}},
		"fleetctl: fleet.yaml:9: no tbot reads kyes\n"},
	{enroll.FilesKept{Dir: "out", Err: errors.New("2 machines would lose their last rule")}, "the files in out stay as they are; don't apply them"},
	{enroll.CAsHeld{Token: "fleet", By: []token.Hold{{Host: "web-01"}}}, "token fleet: its CA check stays as it is: 1 hosts may have it and would not pass the new one: web-01"},
	{enroll.RulesOpen{Rules: []enroll.OpenRule{{Host: "old-01", Token: "fleet", Orphan: true}, {Host: "web-01", Token: "fleet", Until: "prod", Stale: true}}},
		"1 hosts have rules and are not in the inventory (fleetctl remove --offline takes them out): old-01; 1 hosts keep an old rule and have not joined for long: web-01"},
	{enroll.PolicyChanges{Changes: []string{"token.name: fleet → prod", "bot.name: a → b"}}, "the whole fleet changes: token.name: fleet → prod; bot.name: a → b"},
	{enroll.TokenAlarm{Alarm: token.Alarm{Kind: token.AlarmAhead, Text: "token fleet: newer", Hosts: []string{"a", "b"}}},
		"alarm: token fleet: newer: a, b (fleetctl records recover)"},
	{enroll.RulesKept{Kept: map[string][]token.Rule{"fleet": {{Host: "web-01"}}}},
		"token fleet: 1 rules stay until their hosts have joined with another token: web-01"},
	{enroll.Learned{}, "0 rules stay, 0 hosts keep the token that they have there, 0 tokens are newer"},
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
		if strings.Contains(text, "hint: ") && hostWord.MatchString(text) {
			t.Errorf("%s: this hint leaves the host's name to whoever reads it: %q", what, line)
		}
	}
}
