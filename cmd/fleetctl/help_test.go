package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll/config"
)

// TestHelpFitsATerminal: of 80 columns, for every command, and by both ways of asking.
func TestHelpFitsATerminal(t *testing.T) {
	t.Parallel()
	check := func(words ...string) {
		byFlag := runApp(t.Context(), nil, append(append([]string{"fleetctl"}, words...), "--help")...)
		byCommand := runApp(t.Context(), nil, append([]string{"fleetctl", "help"}, words...)...)
		if byFlag.code != exitOK || byFlag.stdout != byCommand.stdout || byFlag.stderr+byCommand.stderr != "" {
			t.Errorf("%v: %+v\n%+v", words, byFlag, byCommand)
		}
		for line := range strings.Lines(byFlag.stdout) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > helpWidth {
				t.Errorf("%v: this line is too long: %q", words, line)
			}
		}
	}
	check()
	everyCommand(func(words []string, c *cli.Command) {
		if c.Name != "help" { // which shows the first page
			check(words...)
		}
	})
}

func TestHelpIsInGroups(t *testing.T) {
	t.Parallel()
	titles := func(text string) (all []string) {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); strings.HasSuffix(line, ":") && !strings.Contains(line, "  ") {
				all = append(all, line)
			}
		}
		return all
	}
	got := titles(runApp(t.Context(), nil, "fleetctl", "help").stdout)
	if want := []string{"Begin:", "Work on the fleet:", "Look:", "Records:", "Help:"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	got = titles(runApp(t.Context(), nil, "fleetctl", "help", "enroll").stdout)
	if want := []string{"Examples:", "Flags:", "Hosts:", "In place of fleet.yaml:", "Connection:", "General:"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestExamplesAreCommandLines: every command has three, the real command line takes them, and they lead to that command.
func TestExamplesAreCommandLines(t *testing.T) {
	t.Parallel()
	commands := map[string]bool{}
	everyCommand(func(words []string, c *cli.Command) {
		name := strings.Join(words, " ")
		commands[name] = true
		if n := len(examples[name]); n != 3 && !(c.Hidden && n == 0) {
			t.Errorf("%s has %d examples", name, n)
		}
	})
	for name, list := range examples {
		if !commands[name] {
			t.Errorf("there is no command %s", name)
		}
		for _, e := range list {
			checkExample(t, name, e)
		}
	}
}

// checkExample runs a command line whose actions do nothing but say that they were reached.
func checkExample(t *testing.T, name string, e example) {
	t.Helper()
	line := e.line
	if _, after, ok := strings.Cut(line, "| "); ok {
		line = after
	}
	line, _, _ = strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "source <("), ")"), " >")
	words, err := config.CommandWords(line)
	if err != nil || e.does == "" {
		t.Fatalf("%s: %v", e.line, err)
	}
	if words[0] != "fleetctl" {
		return // what to do with what a command has written
	}
	a := &app{}
	reached := ""
	program := a.command()
	spy(program.Commands, nil, &reached)
	oneApp.Lock()
	defer oneApp.Unlock()
	l := parseLine(program, a.everywhere(), words)
	if err := program.RunContext(t.Context(), l.reordered()); err != nil || l.open != nil || reached != name {
		t.Errorf("%s: %v; it leads to %q", e.line, err, reached)
	}
}

// spy lets actions say which they are.
func spy(commands []*cli.Command, words []string, reached *string) {
	for _, c := range commands {
		path := append(slices.Clone(words), c.Name)
		spy(c.Subcommands, path, reached)
		c.Action = func(*cli.Context) error {
			*reached = strings.Join(path, " ")
			return nil
		}
	}
}

func TestHelpOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"scn":           `error: there is no command "scn"`,
		"records imprt": `error: there is no command of records "imprt"`,
		"scan x":        `error: there is no command of scan "x"`,
	} {
		r := runApp(t.Context(), nil, append([]string{"fleetctl", "help"}, strings.Fields(words)...)...)
		if r.code != exitUsage || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v", words, r)
		}
	}
}

func TestVersionSaysWhatIsInTheProgram(t *testing.T) {
	t.Parallel()
	helpers := os.DirFS("testdata/helpers")
	r := runApp(t.Context(), func(a *app) { a.helpers = helpers }, "fleetctl", "version", "-o", "json")
	var b []build
	if err := json.Unmarshal([]byte("["+r.stdout+"]"), &b); err != nil || len(b) != 1 || b[0].Version == "" || !strings.HasPrefix(b[0].Go, "go1.") ||
		!slices.Equal(b[0].Helpers, []string{"amd64"}) || b[0].Schema < 4 || !strings.Contains(b[0].Platform, "/") {
		t.Errorf("%v, %+v\n%+v", err, b, r)
	}
	r = runApp(t.Context(), func(a *app) { a.helpers = helpers }, "fleetctl", "version")
	for _, want := range []string{"fleetctl        " + version + "\n", "\nhelpers         amd64\n", "\nrecords schema  "} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q: %s", want, r.stdout)
		}
	}
	for _, format := range []string{"csv", "yaml", "jsonl"} {
		if r := runApp(t.Context(), nil, "fleetctl", "version", "-o", format); r.code != exitOK || r.stdout == "" {
			t.Errorf("%s: %+v", format, r)
		}
	}
	if r := runApp(t.Context(), nil, "fleetctl", "version", "x"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}

// TestManPages: one a command, which groff typesets without a word of complaint.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man1")
	if r := runApp(t.Context(), nil, "fleetctl", "man", dir); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	pages := 1
	everyCommand(func(words []string, c *cli.Command) {
		if !c.Hidden && c.Name != "help" {
			pages++
			checkManPage(t, groff, filepath.Join(dir, "fleetctl-"+strings.Join(words, "-")+".1"), c)
		}
	})
	checkManPage(t, groff, filepath.Join(dir, "fleetctl.1"), &cli.Command{})
	if files, err := os.ReadDir(dir); err != nil || len(files) != pages {
		t.Errorf("%d files for %d pages, %v", len(files), pages, err)
	}
}

func checkManPage(t *testing.T, groff, file string, c *cli.Command) {
	t.Helper()
	var complaints strings.Builder
	cmd := exec.CommandContext(t.Context(), groff, "-man", "-Tascii", "-wall", "-P-cbou", file)
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 || !strings.Contains(string(out), "NAME") {
		t.Errorf("%s: %v, %s", file, err, complaints.String())
	}
	for _, f := range c.Flags {
		if !strings.Contains(string(out), dashed(f.Names()[0])) {
			t.Errorf("%s says nothing of %s", file, dashed(f.Names()[0]))
		}
	}
}
