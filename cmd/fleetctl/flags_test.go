package main

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll/outcome"
)

// everyCommand calls fn for every command with its words: "records", "records import".
func everyCommand(fn func(words []string, c *cli.Command)) {
	for _, c := range (&app{}).command().Commands {
		fn([]string{c.Name}, c)
		for _, sub := range c.Subcommands {
			fn([]string{c.Name, sub.Name}, sub)
		}
	}
}

// everyFlag are the long names of all flags that there are.
func everyFlag() map[string]bool {
	all := map[string]bool{}
	everyCommand(func(_ []string, c *cli.Command) {
		for _, f := range c.Flags {
			all[f.Names()[0]] = true
		}
	})
	return all
}

// otherFlags are flags of other programs that have the name of one of ours, by the place of the file and the text around.
var otherFlags = []struct{ in, text string }{
	{"enroll/host/", "udevadm settle --timeout="},
	{"enroll/host/", "--connect-timeout 20"}, // curl
	{"enroll/host/", "systemctl enable --quiet"},
	{"enroll/host/", "systemctl disable --quiet"},
	{"enroll/", "--format=json"},                                  // tctl
	{"enroll/token/document.go", "(or: fleetctl tokens --apply)"}, // a comment in the user's file
	{"enroll/versions/", "without `--write`"},                     // tctl
	{"inventory/", "`ansible-inventory -i %s --list"},
	{"inventory/vault/", "--vault-id"}, // of password programs, as Ansible has it
	{"inventory/script.go", "--list"},  // of inventory scripts, as Ansible has it
	{"inventory/script.go", "--host"},
	{"inventory/scope.go", "--list"},
	{"inventory/plugin.go", "--list"},
}

var longFlag = regexp.MustCompile(`--([a-z][a-z-]*)`)

// ownFlags are the flags of ours in a text of a file.
func ownFlags(flags map[string]bool, used []bool, file, text string) []string {
	for i, other := range otherFlags {
		if strings.HasPrefix(file, other.in) && strings.Contains(text, other.text) {
			used[i] = true
			text = strings.ReplaceAll(text, other.text, "")
		}
	}
	var found []string
	for _, m := range longFlag.FindAllStringSubmatch(text, -1) {
		if flags[m[1]] {
			found = append(found, m[0])
		}
	}
	return found
}

// TestNoRoomNamesAFlag: flags are known to the command line alone; what a room says must be right for whoever calls it.
// Flags stand in advice and in hintOf.
func TestNoRoomNamesAFlag(t *testing.T) {
	t.Parallel()
	flags, used := everyFlag(), make([]bool, len(otherFlags))
	for _, m := range outcome.Codes() {
		if found := ownFlags(flags, used, "", m.Means+" "+m.Do); len(found) > 0 {
			t.Errorf("the code %s names %v", m.Code, found)
		}
	}
	literals := 0
	for _, room := range []string{"enroll", "remote", "inventory", "templates"} {
		eachLiteral(t, room, func(place, file, text string) {
			literals++
			if found := ownFlags(flags, used, file, text); len(found) > 0 {
				t.Errorf("%s: %v in %q", place, found, text)
			}
		})
	}
	if literals < 1000 {
		t.Errorf("only %d literals were read", literals)
	}
	for i, other := range otherFlags {
		if !used[i] {
			t.Errorf("nothing in %s has %q: take it out of otherFlags", other.in, other.text)
		}
	}
}

// eachLiteral calls fn for every string literal in the sources of a room, tests and models left out. file is its path
// from the root.
func eachLiteral(t *testing.T, room string, fn func(place, file, text string)) {
	t.Helper()
	const root = "../../"
	err := filepath.WalkDir(root+room, func(path string, e fs.DirEntry, err error) error {
		switch name := e.Name(); {
		case err != nil:
			return err
		case e.IsDir() && slices.Contains([]string{"testdata", "enrolltest", "remotetest"}, name):
			return filepath.SkipDir
		case e.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		tree, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Errorf("%s: %v", files.Position(lit.Pos()), err)
			}
			fn(files.Position(lit.Pos()).String(), strings.TrimPrefix(path, root), text)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestHelpNamesEveryFlagOnce: of every command.
func TestHelpNamesEveryFlagOnce(t *testing.T) {
	t.Parallel()
	everyCommand(func(words []string, c *cli.Command) {
		name := strings.Join(words, " ")
		got := runApp(context.Background(), nil, append(append([]string{"fleetctl"}, words...), "--help")...)
		if got.code != exitOK || got.stderr != "" {
			t.Errorf("%s --help: exit %d, %q", name, got.code, got.stderr)
		}
		for _, f := range c.Flags {
			names := f.Names()
			lines := regexp.MustCompile(`(?m)^ +--`+regexp.QuoteMeta(names[0])+`[ ,].*$`).FindAllString(got.stdout, -1)
			if len(lines) != 1 || len(names) > 1 && !strings.Contains(lines[0], ", -"+names[1]) {
				t.Errorf("%s --help has these lines for %v: %q", name, names, lines)
			}
		}
	})
	top := runApp(context.Background(), nil, "fleetctl", "--help")
	for _, c := range (&app{}).command().Commands {
		n := len(regexp.MustCompile(`(?m)^ +`+c.Name+` .+$`).FindAllString(top.stdout, -1))
		if n != 1 && !c.Hidden || n > 0 && c.Hidden {
			t.Errorf("--help lists %s %d times:\n%s", c.Name, n, top.stdout)
		}
	}
}

// TestFlagsStandOnce: no command has two flags of one name, and each says what it does.
func TestFlagsStandOnce(t *testing.T) {
	t.Parallel()
	everyCommand(func(words []string, c *cli.Command) {
		seen := map[string]bool{}
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				if seen[n] {
					t.Errorf("%v has --%s twice", words, n)
				}
				seen[n] = true
			}
			if d, ok := f.(cli.DocGenerationFlag); !ok || d.GetUsage() == "" {
				t.Errorf("%v: --%s says nothing", words, f.Names()[0])
			}
		}
	})
}
