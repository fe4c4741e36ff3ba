package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want int
	}{
		{context.Background(), nil, exitOK},
		{context.Background(), errors.New("x"), exitError},
		{context.Background(), usage("x"), exitUsage},
		{context.Background(), inputError(errors.New("x")), exitUsage},
		{context.Background(), outcome.Mark(errors.New("x"), outcome.ErrHostsFailed), exitHostsFailed},
		{context.Background(), errors.Join(outcome.ErrChanges, nil), exitChanges},
		{context.Background(), inputError(context.Canceled), exitInterrupted},
		{gone, outcome.ErrHostsFailed, exitInterrupted},
		{gone, nil, exitOK},
	} {
		if got := exitCode(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%v: exit %d, want %d", tt.err, got, tt.want)
		}
	}
}

// TestStderrNamesTheProgram: whatever a command says beside its results, in every line.
func TestStderrNamesTheProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=2"}})
	for _, args := range [][]string{
		{"bogus"}, {"scan", "--bogus"}, {"scan", "-v"}, {"records", "--db", filepath.Join(w.dir, "no", "where")},
		{"enroll", "--check", "--diff", "--out", w.out()}, {"enroll", "-v", "--out", w.out()}, {"enroll", "--out", w.out()},
		{"status"}, {"tokens", "--diff", "--out", w.out()}, {"records", "forget", "web-02"},
		{"status"}, {"remove", "--check", "web-01", "--out", w.out()}, {"remove", "--yes", "web-01", "--out", w.out()}, {"remove", "nobody"},
		{"explain", "nonsense"}, {"scan", "--limit", "nobody"}, {"scan", "-f", filepath.Join(w.dir, "missing.yaml")},
	} {
		checkStderr(t, strings.Join(args, " "), w.inProcess(args...).stderr)
	}
}

// TestProgressAndTroublesOnATerminal: troubles stand in lines of their own above the line that says how far it is.
func TestProgressAndTroublesOnATerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=2"}})
	w.hosts["web-02"].With(func(s *enrolltest.State) { s.Sudo.Denied = true })
	terminal := func(a *app) {
		a.terminal, a.columns = true, func() int { return 100 }
		a.line = screen.NewLine(a.stderr)
		a.stderr = a.line
	}
	r := w.inProcessWith(context.Background(), terminal, "scan")
	if r.code != exitHostsFailed || !strings.Contains(r.stderr, "fleetctl: web-02: become-failed: ") ||
		!regexp.MustCompile(`\r\x1b\[K.*scan \d/2`).MatchString(r.stderr) {
		t.Errorf("%+v", r)
	}
	if r := w.inProcessWith(context.Background(), terminal, "scan", "--no-progress"); strings.Contains(r.stderr, "\r") {
		t.Errorf("a bar all the same: %q", r.stderr)
	}
}

func TestAnInterruptBeforeTheFirstHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=1"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for command, more := range map[string]string{"scan": "; the same command with --resume goes on", "status": "", "tokens": ""} {
		r := w.inProcessWith(ctx, nil, command)
		if r.code != exitInterrupted || r.stderr != "fleetctl: interrupted: what was finished is recorded"+more+"\n" {
			t.Errorf("%s: %+v", command, r)
		}
	}
}

// TestHintsForRecords: an error of the records says what to do, with flags.
func TestHintsForRecords(t *testing.T) {
	t.Parallel()
	for _, err := range []error{store.ErrLocked, store.ErrNewerSchema, store.ErrReadOnly, store.ErrForeign, store.ErrCorrupt} {
		if hint := hintOf(err); !strings.Contains(hint, "--db") && !strings.Contains(hint, "--wait") {
			t.Errorf("%v: %q", err, hint)
		}
	}
}

// TestForeignRulesThatTakeTheRoom: the error names the token, the hint the flags that help.
func TestForeignRulesThatTakeTheRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=1"}})
	config := worldConfig + "token: {max_bytes: 5000}\n"
	if err := os.WriteFile(filepath.Join(w.dir, "fleet.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	doc := "kind: token\nversion: v2\nmetadata: {name: fleet, labels: {fleetctl.dev/fleet: fleet}}\nspec: {roles: [Bot], join_method: tpm, bot_name: fleet, tpm: {allow: [\n"
	for i := range 80 {
		doc += "{ek_public_hash: \"" + enrolltest.Hash(i) + "\"},\n"
	}
	if err := w.cluster.Put(doc + "]}}\n"); err != nil {
		t.Fatal(err)
	}
	if r := w.inProcess("scan"); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	r := w.inProcess("tokens", "--apply", "--out", w.out())
	if r.code != exitUsage || !strings.Contains(r.stderr, "error: bad input: token fleet would be ") ||
		!strings.Contains(r.stderr, "hint: take them over (fleetctl tokens --adopt), remove them (--prune), or raise token.max_bytes\n") {
		t.Errorf("%+v", r)
	}
}

// TestWithoutHelpers: a fleetctl of a plain checkout says how to get them, and the shell does without.
func TestWithoutHelpers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=1"}})
	plain := func(a *app) { a.helpers = noFiles{} }
	r := w.inProcessWith(context.Background(), plain, "scan")
	if !strings.Contains(r.stdout+r.stderr, "helper") {
		t.Errorf("%+v", r)
	}
	if r := w.inProcessWith(context.Background(), plain, "scan", "--identify-with", "shell"); r.code != exitOK {
		t.Errorf("%+v", r)
	}
	for _, via := range []string{"tbot"} {
		if r := w.inProcessWith(context.Background(), plain, "scan", "--identify-with", via, "-o", "csv"); r.code != exitOK {
			t.Errorf("%s: %+v", via, r)
		}
	}
}

// TestStandardInputIsAnInventory: it is read once, whatever needs it.
func TestStandardInputIsAnInventory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=2"}})
	inventory, err := os.Open(filepath.Join(w.dir, "inventory.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer inventory.Close()
	r := w.inProcessWith(context.Background(), func(a *app) { a.stdin = inventory }, "enroll", "--out", w.out(), "-i", "-")
	if r.code != exitOK || !strings.Contains(r.stderr, "changed=2") {
		t.Errorf("%+v", r)
	}
}

// TestManyWarningsAreCut: what an inventory has twenty times is said twenty times.
func TestManyWarningsAreCut(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("all:\n  hosts: {a: }\n")
	for i := range 25 {
		fmt.Fprintf(&text, "  odd%d: {}\n", i)
	}
	r := runApp(context.Background(), func(a *app) { a.stdin = strings.NewReader(text.String()) }, "fleetctl", "inventory", "-")
	lines := strings.Split(r.stderr, "\n")
	if r.code != exitOK || len(lines) != 22 || lines[20] != "fleetctl: warning: and 5 more like these" ||
		!strings.Contains(lines[0], ":3:3: key \"odd0\" of group \"all\" is skipped") {
		t.Errorf("%+v", r)
	}
}

func TestReorder(t *testing.T) {
	t.Parallel()
	a := &app{}
	for line, want := range map[string]string{
		"fleetctl -f my.yaml scan inventory.yaml --limit web": "fleetctl scan -f my.yaml --limit web inventory.yaml",
		"fleetctl records --db x import file --host web-01":   "fleetctl records import --db x --host web-01 file",
		"fleetctl scan a -- --limit":                          "fleetctl scan a -- --limit",
		"fleetctl remove scan":                                "fleetctl remove scan",
		"fleetctl scan --limit=web -v a":                      "fleetctl scan --limit=web -v a",
		"fleetctl scan - --unknown":                           "fleetctl scan --unknown -",
		"fleetctl":                                            "fleetctl",
	} {
		if got := strings.Join(parseLine(a.command(), a.everywhere(), strings.Fields(line)).reordered(), " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	if got := parseLine(a.command(), nil, nil).reordered(); len(got) != 0 {
		t.Errorf("nothing became %q", got)
	}
}

// TestARemovalAsksAtTheTerminal: for named hosts yes or no, for chosen ones how many they are.
func TestARemovalAsksAtTheTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=3"}})
	if r := w.inProcess("enroll", "--tokens-only", "--out", w.out()); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	for _, tt := range []struct {
		what, answer, asked string
		code, rules         int
	}{
		{"web-01", "", "remove 1 machines? [y/N]: ", exitUsage, 3},
		{"web-01", "n\n", "remove 1 machines? [y/N]: ", exitUsage, 3},
		{"web-*", "y\n", "remove 3 machines, 3 of them chosen by a pattern? Type that number: ", exitUsage, 3},
		{"web-*", "2\n", "Type that number: ", exitUsage, 3},
		{"web-01", "y\n", "remove 1 machines? [y/N]: ", exitOK, 2},
		{"web-0[1-3]*", "2\n", "remove 3 machines, 2 of them", exitOK, 0},
	} {
		typed := func(a *app) { a.interactive, a.stdin = true, strings.NewReader(tt.answer) }
		r := w.inProcessWith(context.Background(), typed, "remove", "--offline", "--out", w.out(), tt.what)
		if rules := len(w.cluster.Rules("fleet")); r.code != tt.code || rules != tt.rules || !strings.Contains(r.stderr, tt.asked) {
			t.Errorf("%s, %q: code %d, %d rules\n%s", tt.what, tt.answer, r.code, rules, r.stderr)
		}
	}
}

func TestAQuestionEndsWithTheCommand(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r, in := io.Pipe()
	defer func() { _ = in.Close() }()
	if _, err := (&app{stdin: r, stderr: io.Discard}).question(ctx, "sure?"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestCommandLinesAreKeptWithoutSecrets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ want, args string }{
		{"fleetctl scan --limit 'web*' -i hosts.ini", "/opt/bin/fleetctl|scan|--limit|web*|-i|hosts.ini"},
		{"fleetctl scan --become-password-file=/etc/pw --private-key id", "f|scan|--become-password-file=/etc/pw|--private-key|id"},
		{"fleetctl scan --become-password-file /etc/pw", "f|scan|--become-password-file|/etc/pw"},
		{"fleetctl scan -i 'web ansible_ssh_pass=(redacted) ansible_user=me,'", "f|scan|-i|web ansible_ssh_pass=hunter2 ansible_user=me,"},
		{"fleetctl scan -i 'web ansible_become_password=(redacted) x=1'", "f|scan|-i|web ansible_become_password='hunter2 b' x=1"},
		{"fleetctl scan --ssh-password=(redacted)", "f|scan|--ssh-password=hunter2"},
		{"fleetctl scan --ssh-password (redacted) -v", "f|scan|--ssh-password|hunter2|-v"},
		{"fleetctl scan -i https://me:(redacted)@example.com/hosts", "f|scan|-i|https://me:hunter2@example.com/hosts"},
		{"fleetctl records forget a --reason ''", "f|records|forget|a|--reason|"},
	} {
		got := commandLine(strings.Split(tt.args, "|"))
		if plain := strings.NewReplacer(`'\''`, "'").Replace(got); strings.Contains(got, "hunter2") ||
			strings.ReplaceAll(plain, "'", "") != strings.ReplaceAll(tt.want, "'", "") {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
	if got := whoIsIt(); !strings.Contains(got, "@") || strings.HasPrefix(got, "@") || strings.HasSuffix(got, "@") {
		t.Errorf("got %q", got)
	}
}

func TestRecoverSaysWhatItFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=2"}})
	if got := w.inProcess("enroll", "--tokens-only", "--out", w.out()); got.code != exitOK {
		t.Fatalf("%+v", got)
	}
	lost := store.Machine{EKHash: enrolltest.Hash(77), Host: "web-99", State: store.Removed, Run: 3}
	if _, err := token.WriteTombstones(w.out(), []store.Machine{lost}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"--check", exitChanges, "would recover that web-99 was removed"},
		{"", exitOK, "recovered 1 removals, 0 tokens that machines may be configured with, 0 assignments"},
		{"--check", exitOK, "would recover 0 removals"},
	} {
		args := append([]string{"records", "recover", "--out", w.out(), "-o", "csv"}, strings.Fields(tt.args)...)
		got := w.inProcess(args...)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) || !strings.Contains(got.stdout, "fleet,true,2,0,1,1") {
			t.Errorf("%s: %+v", tt.args, got)
		}
	}
	if got := w.inProcess("records", "--removed"); !strings.Contains(got.stdout, "web-99  removed") {
		t.Errorf("%+v", got)
	}
}
