//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/store"
)

// completionDir is a directory with an inventory and records of a host zulu.
func completionDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	inventory := "all: {children: {web: {hosts: {zulu: , \"y b\": }}, staging: {hosts: {zulu: }}}}\n"
	if err := os.WriteFile(filepath.Join(dir, "inventory.yaml"), []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	fleet := strings.Replace(worldConfig, "inventory.yaml", filepath.Join(dir, "inventory.yaml"), 1)
	if err := os.WriteFile(filepath.Join(dir, "fleet.yaml"), []byte(fleet), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), filepath.Join(dir, "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	o := store.Observation{
		Host: "zulu", At: time.Now(), Outcome: "ok", Identity: &store.Identity{EKHash: strings.Repeat("a", 64), Via: "helper"},
	}
	if _, err := st.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWhatMayStandAtTheCursor(t *testing.T) {
	t.Parallel()
	dir := completionDir(t)
	f, db := filepath.Join(dir, "fleet.yaml"), filepath.Join(dir, "fleet.db")
	for _, tt := range []struct {
		words []string // the last one is at the cursor
		want  string
		more  bool // others may be there, too
	}{
		{words: []string{"sc"}, want: "scan"},
		{words: []string{""}, want: "init doctor inventory known-hosts scan tokens enroll remove status report explain support-bundle records help version completion"},
		{words: []string{"records", "hi"}, want: "history"},
		{words: []string{"scan", "--retry"}, want: "--retry-failed"},
		{words: []string{"explain", "--lim"}, want: ""},
		{words: []string{"--ver"}, want: "--verbose"},
		{words: []string{"scan", "-o", "j"}, want: "json jsonl"},
		{words: []string{"scan", "-o=js"}, want: "-o=json -o=jsonl"},
		{words: []string{"scan", "--yes=x"}, want: ""},
		{words: []string{"tokens", "--format", ""}, want: "tctl terraform kubernetes"},
		{words: []string{"scan", "-f", f, "--limit", ""}, want: "zulu staging web all", more: true},
		{words: []string{"-f", f, "scan", "--limit=web:z"}, want: "--limit=web:zulu"},
		{words: []string{"scan", "-f=" + f, "-l", "web:!z"}, want: "web:!zulu"},
		{words: []string{"scan", "-i", filepath.Join(dir, "inventory.yaml"), "-f", "none.yaml", "-l", "sta"}, want: "staging"},
		{words: []string{"inventory", "-i", "one,two", "--host", ""}, want: "one two"},
		{words: []string{"remove", "-f", f, "z"}, want: "zulu"},
		{words: []string{"records", "history", "--db", db, ""}, want: "zulu"},
		{words: []string{"records", "history", "--db", db + ".none", ""}, want: ""},
		{words: []string{"explain", "changed-"}, want: "changed-ek"},
		{words: []string{"help", "rec"}, want: "records"},
		{words: []string{"help", "records", "im"}, want: "import"},
		{words: []string{"completion", ""}, want: "bash zsh fish"},
		{words: []string{"scan", "inv"}, want: ":files"},
		{words: []string{"scan", "-i", ""}, want: ":files"},
		{words: []string{"nosuch", ""}, want: ""},
	} {
		r := runApp(t.Context(), nil, append([]string{"fleetctl", "__complete", "--"}, tt.words...)...)
		var got []string
		for line := range strings.Lines(r.stdout) {
			text, _, _ := strings.Cut(line, "\t")
			got = append(got, strings.TrimSpace(text))
		}
		if r.code != exitOK || r.stderr != "" {
			t.Errorf("%q: %+v", tt.words, r)
		}
		if want := strings.Fields(tt.want); !tt.more && !slices.Equal(got, want) ||
			tt.more && slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(got, w) }) {
			t.Errorf("%q: %q, want %q", tt.words, got, want)
		}
		if slices.Contains(got, "y b") {
			t.Errorf("%q: shells take %q for two words", tt.words, "y b")
		}
	}
}

func TestCompletionOfWhichShell(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"tcsh"}, {"bash", "zsh"}} {
		r := runApp(t.Context(), nil, append([]string{"fleetctl", "completion"}, args...)...)
		if r.code != exitUsage || !strings.Contains(r.stderr, "completion for which shell? One of bash, zsh, fish") {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// shellStart are the real shells, without the settings of whoever runs the test, and how they get the completion.
var shellStart = map[string]struct {
	args  []string
	setup string
}{
	"bash": {[]string{"--norc", "--noprofile", "-i"}, "source <(fleetctl completion bash)"},
	"zsh":  {[]string{"-f", "-i"}, "bindkey -e; autoload -U compinit && compinit -u -D && source <(fleetctl completion zsh)"},
	"fish": {[]string{"--no-config", "-i"}, "fleetctl completion fish | source"},
}

// TestCompletionInRealShells presses the tab key.
func TestCompletionInRealShells(t *testing.T) {
	t.Parallel()
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(shell); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			s := startShell(t, shell)
			for typed, want := range map[string]string{
				"fleetctl repo":                          "report",
				"fleetctl records back":                  "backup",
				"fleetctl scan --retry":                  "--retry-failed",
				"fleetctl scan -o ya":                    "yaml",
				"fleetctl scan --output=ya":              "--output=yaml",
				"fleetctl scan --limit zu":               "zulu",
				"fleetctl scan --limit sta":              "staging",
				"fleetctl scan --limit web:zu":           "web:zulu",
				"fleetctl scan -l db:staging:zu":         "db:staging:zulu",
				"fleetctl explain changed-":              "changed-ek",
				"fleetctl records history zu":            "zulu",
				"fleetctl remove --yes zu":               "zulu",
				"fleetctl scan inven":                    "inventory.yaml",
				"fleetctl enroll -i inventory.yaml -f f": "fleet.yaml",
			} {
				if want == "fleet.yaml" {
					typed += "leet.y" // there is fleet.db, too
				}
				s.press(typed, want)
			}
		})
	}
}

// startShell starts a shell on a terminal, with the completion of fleetctl.
func startShell(t *testing.T, shell string) *begun {
	t.Helper()
	start := shellStart[shell]
	dir := completionDir(t)
	s := &begun{t: t, dir: dir, cmd: exec.Command(shell, start.args...), done: make(chan struct{})}
	s.cmd.Dir = dir
	s.cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TERM=xterm", "LC_ALL=C.UTF-8", "EDITOR=", "VISUAL=", "INPUTRC=/dev/null")
	s.openTerminal()
	s.start()
	s.types(start.setup + "; printf 'set<%s>\\n' up\r")
	s.sees("set<up>")
	return s
}

func (b *begun) types(text string) {
	b.t.Helper()
	if _, err := b.keys.WriteString(text); err != nil {
		b.t.Fatal(err)
	}
}

// press types the beginning of a command line and the tab key, and lets the shell print the words that it has then.
func (b *begun) press(typed, want string) {
	b.t.Helper()
	const home = "\x01" // Ctrl-A: the beginning of the line
	id := fmt.Sprintf("%x", typed)
	b.types(typed + "\t" + home + "printf '" + id + "<%s>\\n' \r")
	b.sees(id + "<" + want + ">")
}
