package inventories

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// source is a line of sources.txt.
type source struct {
	repository, commit string
	patterns           []string
}

func sources(t *testing.T) []source {
	t.Helper()
	data, err := os.ReadFile("sources.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if len(words) < 3 {
			t.Fatalf("sources.txt: %q", line)
		}
		all = append(all, source{words[0], words[1], words[2:]})
	}
	return all
}

// noConfig is a variable that names an empty ansible.cfg: projects' own would choose other inventories.
const noConfig = "INVENTORIES_CONFIG"

// run runs a program; err has what it said.
func run(dir, program string, args ...string) ([]byte, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ANSIBLE_CONFIG="+os.Getenv(noConfig), "ANSIBLE_NOCOLOR=1")
	out, err := cmd.Output()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		err = fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(string(e.Stderr)), " "))
	}
	return out, err
}

// checkout brings the commit to a directory, unless it is there.
func (s source) checkout(t *testing.T, base string) string {
	t.Helper()
	dir := filepath.Join(base, filepath.Base(filepath.Dir(s.repository))+"+"+filepath.Base(s.repository))
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		return dir
	}
	for _, args := range [][]string{
		{"init", "-q", dir}, {"-C", dir, "fetch", "-q", "--depth=1", s.repository, s.commit}, {"-C", dir, "checkout", "-q", "FETCH_HEAD"},
	} {
		if _, err := run("", "git", args...); err != nil {
			t.Skipf("%s cannot be had here: %v", s.repository, err)
		}
	}
	return dir
}

// verdict is what came of an inventory.
type verdict string

const (
	same    verdict = "same"
	refused verdict = "refused by both"
	strict  verdict = "refused by fleetctl alone"
	lax     verdict = "refused by Ansible alone"
	differs verdict = "differs"
)

// bare copies an inventory without the files of variables beside it, and returns where it is: nobody has the passwords of
// others' vaults.
func bare(t *testing.T, path string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := filepath.WalkDir(path, func(from string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "group_vars" || e.Name() == "host_vars") {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(path, from)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.Base(path), rel)
		if e.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// compare compares what both make of an inventory; what only its owner can decrypt is left out.
func compare(t *testing.T, dir, path string) (verdict, string) {
	t.Helper()
	v, why := compareIn(dir, path)
	if v != same && v != differs && strings.Contains(why, "vault") {
		return compareIn(bare(t, filepath.Join(dir, path)), filepath.Base(path))
	}
	return v, why
}

func compareIn(dir, path string) (verdict, string) {
	theirs, theirErr := run(dir, "ansible-inventory", "-i", path, "--list")
	ours, ourErr := run(dir, os.Getenv("FLEETCTL"), "inventory", "--no-ansible-config", "-i", path, "--list")
	switch {
	case ourErr != nil && theirErr != nil:
		return refused, ourErr.Error() + "; " + theirErr.Error()
	case ourErr != nil:
		return strict, ourErr.Error()
	case theirErr != nil:
		return lax, theirErr.Error()
	}
	var a, b any
	if err := errors.Join(json.Unmarshal(theirs, &a), json.Unmarshal(ours, &b)); err != nil {
		return differs, err.Error()
	}
	if !reflect.DeepEqual(a, b) {
		return differs, difference(a, b)
	}
	return same, ""
}

// difference is the first place where two values differ.
func difference(a, b any) string {
	x, okX := a.(map[string]any)
	y, okY := b.(map[string]any)
	if okX && okY {
		for k := range x {
			if !reflect.DeepEqual(x[k], y[k]) {
				return k + ": " + difference(x[k], y[k])
			}
		}
		for k := range y {
			if _, ok := x[k]; !ok {
				return k + ": ours alone"
			}
		}
	}
	return fmt.Sprintf("%.200v, ours %.200v", a, b)
}

// TestPublicInventories compares all that sources.txt names, once it is asked for: INVENTORIES is the directory for them.
func TestPublicInventories(t *testing.T) {
	base := os.Getenv("INVENTORIES")
	if base == "" {
		t.Skip("INVENTORIES names no directory: make inventories")
	}
	if os.Getenv("FLEETCTL") == "" {
		t.Fatal("FLEETCTL names no program")
	}
	empty := filepath.Join(t.TempDir(), "ansible.cfg")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(noConfig, empty)
	counts := map[verdict]int{}
	for _, s := range sources(t) {
		t.Run(s.repository, func(t *testing.T) {
			dir := s.checkout(t, base)
			for _, path := range s.paths(t, dir) {
				v, why := compare(t, dir, path)
				if counts[v]++; v == differs {
					t.Errorf("%s: %s: %s", path, v, why)
				} else if v != same {
					t.Logf("%s: %s: %.400s", path, v, why)
				}
			}
		})
	}
	t.Logf("compared: %v", counts)
	if counts[same] == 0 {
		t.Error("nothing was compared")
	}
}

// paths are the inventories that a source's patterns match.
func (s source) paths(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, p := range s.patterns {
		found, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil || len(found) == 0 {
			t.Errorf("%s: nothing matches (%v)", p, err)
		}
		for _, f := range found {
			rel, err := filepath.Rel(dir, f)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(all, rel) {
				all = append(all, rel)
			}
		}
	}
	return all
}
