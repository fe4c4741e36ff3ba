package main

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testName is a test in the table of promises: a package of this repository, a function, and perhaps a script of testdata/script.
var testName = regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9_]+)(?:/([a-z_]+))?`")

// TestPromisesNameTheirTests: each promise of docs/security.md has tests, and they are there.
func TestPromisesNameTheirTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	raw, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(raw), "\n| promise | tests |\n|---|---|\n")
	if !ok {
		t.Fatal("docs/security.md has no table of promises")
	}
	known, rows := map[string]map[string]bool{}, 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		names := testName.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) != 2 || len(names) == 0 || len(names) != strings.Count(cells[1], "`")/2 {
			t.Errorf("not a promise and its tests: %s", line)
		}
		for _, n := range names {
			if known[n[1]] == nil {
				known[n[1]] = testsOf(t, filepath.Join(root, n[1]))
			}
			if !known[n[1]][n[2]] {
				t.Errorf("%s has no %s: %s", n[1], n[2], line)
			}
			if _, err := os.Stat(filepath.Join(root, n[1], "testdata", "script", n[3]+".txt")); n[3] != "" && err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if rows < 20 {
		t.Errorf("%d promises are read", rows)
	}
}

// testsOf are the tests of a package.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[f.Name.Name] = true
			}
		}
	}
	return tests
}
