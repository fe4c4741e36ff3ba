package inventory

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// ansible is the real Ansible in a child process, which answers one request after the other.
type ansible struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

type ansibleAnswer struct {
	Code           int
	Stdout, Stderr string
}

// startAnsible skips the test where there is no Ansible, and fails it under CI.
func startAnsible(t *testing.T) *ansible {
	t.Helper()
	bin, err := exec.LookPath("ansible-inventory")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("ansible-inventory is not installed: apt-get install ansible-core")
		}
		t.Skip("ansible-inventory is not installed")
	}
	cmd := exec.Command(interpreter(t, bin), "testdata/peer.py")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8", "ANSIBLE_NOCOLOR=1",
		"ANSIBLE_DEPRECATION_WARNINGS=0", "PYTHONDONTWRITEBYTECODE=1",
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "CASE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("testdata/peer.py: %v", err)
		}
	})
	return &ansible{in: in, out: bufio.NewReader(out)}
}

// interpreter is the Python that runs the script: Ansible is installed for that one.
func interpreter(t *testing.T, script string) string {
	t.Helper()
	data, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	words := strings.Fields(strings.TrimPrefix(first, "#!"))
	if len(words) == 0 || !strings.HasPrefix(first, "#!") {
		return "python3"
	}
	return words[len(words)-1]
}

func (a *ansible) run(t *testing.T, cli, dir string, args ...string) ansibleAnswer {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	request, err := json.Marshal(map[string]any{"cli": cli, "dir": dir, "args": args})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.in.Write(append(request, '\n')); err != nil {
		t.Fatal(err)
	}
	line, err := a.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var answer ansibleAnswer
	if err := json.Unmarshal(line, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// corpusCase is one inventory of testdata/ansible, unpacked.
type corpusCase struct {
	name, dir string
	sources   []string
}

// corpus unpacks the inventories. The comment of an archive may have lines "sources: …" (default: the only file that is
// called inventory) and "exec: …" (files that get the executable bit).
func corpus(t *testing.T) []corpusCase {
	t.Helper()
	files, err := filepath.Glob("testdata/ansible/*.txtar")
	if err != nil || len(files) < 40 {
		t.Fatalf("only %d inventories in testdata/ansible (%v)", len(files), err)
	}
	var cases []corpusCase
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := corpusCase{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), dir: t.TempDir()}
		executable := map[string]bool{}
		for line := range strings.Lines(string(archive.Comment)) {
			if list, ok := strings.CutPrefix(line, "sources: "); ok {
				c.sources = strings.Fields(list)
			}
			if list, ok := strings.CutPrefix(line, "exec: "); ok {
				executable[strings.TrimSpace(list)] = true
			}
		}
		for _, f := range archive.Files {
			mode := os.FileMode(0o644)
			if executable[f.Name] {
				mode = 0o755
			}
			writeFile(t, filepath.Join(c.dir, f.Name), string(f.Data), mode)
			if c.sources == nil && strings.HasPrefix(f.Name, "inventory") {
				c.sources = []string{f.Name}
			}
		}
		cases = append(cases, c)
	}
	return cases
}

// flags are the sources as -i options, and load loads them.
func (c corpusCase) flags() (flags []string) {
	for _, source := range c.sources {
		flags = append(flags, "-i", source)
	}
	return flags
}

func (c corpusCase) load() (*Inventory, error) {
	var sources []string
	for _, source := range c.sources {
		if !strings.ContainsRune(source, ',') {
			source = filepath.Join(c.dir, source)
		}
		sources = append(sources, source)
	}
	return Load(context.Background(), sources, Options{PlaybookDir: c.dir})
}

// sameJSON compares two JSON documents by their values: Ansible doesn't sort keys where some are no strings.
func sameJSON(a, b string) bool {
	var values [2]any
	for i, text := range []string{a, b} {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if dec.Decode(&values[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}

func TestListHostAndGraphPrintWhatAnsibleInventoryPrints(t *testing.T) {
	t.Parallel()
	peer := startAnsible(t)
	for _, c := range corpus(t) {
		t.Run(c.name, func(t *testing.T) {
			inv, err := c.load()
			if err != nil {
				t.Fatal(err)
			}
			compare := func(ours string, args ...string) {
				theirs := peer.run(t, "inventory", c.dir, append(c.flags(), args...)...)
				if theirs.Code != 0 || strings.Contains(theirs.Stderr, "Unable to parse") {
					t.Fatalf("ansible-inventory %s: %s", args, theirs.Stderr)
				}
				if ours != theirs.Stdout && !sameJSON(ours, theirs.Stdout) {
					t.Errorf("%s differs\nfleetctl:\n%s\nansible-inventory:\n%s", args, ours, theirs.Stdout)
				}
			}
			compare(string(inv.List()), "--list")
			graph, err := inv.Graph("all")
			if err != nil {
				t.Fatal(err)
			}
			compare(graph, "--graph")
			hosts, err := inv.Select("all")
			if err != nil || len(hosts) == 0 {
				return
			}
			for _, h := range []Host{hosts[0], hosts[len(hosts)-1]} {
				if ours, err := inv.Host(h.Name); err == nil {
					compare(string(ours), "--host", h.Name)
				}
			}
		})
	}
}

const patternInventory = `
lone1
lone2.example.com
[web]
web[01:10].example.com
[db]
db[a:d]
web01.example.com
[prod:children]
web
db
[staging]
stage1
lone1
[big-group]
h[1:3]
[x]
x
y
`

func TestPatternsSelectWhatAnsibleSelects(t *testing.T) {
	t.Parallel()
	peer := startAnsible(t)
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "hosts"), patternInventory, 0o644)
	limit := writeFile(t, filepath.Join(dir, "limit"), "web03.example.com\n\n  db\n!dba\nh[1:2]\n", 0o644)
	inv, err := Load(context.Background(), []string{file}, Options{PlaybookDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	patterns := [][]string{
		{"all"}, {"*"}, {"web"}, {"web:db"}, {"web,db"}, {"web db"}, {"web:&db"}, {"web:!db"}, {"!db"}, {"&db"}, {"!db:web"},
		{"&db,web"}, {"prod:!web01.example.com"}, {"web01.example.com"}, {"web0?.example.com"}, {"web0*"}, {"*.example.com"},
		{"web0[1-3]*"}, {"web0[!1-3]*"}, {"web[0]"}, {"web[-1]"}, {"web[-3]"}, {"web[0:2]"}, {"web[1:]"}, {"web[2:1]"},
		{"web[3:0]"}, {"web[0:0]"}, {"web[8:20]"}, {"web[20:30]"}, {"web[0-2]"}, {"prod[0]"}, {"web*[1]"}, {"all[5]"},
		{"~web0[12]"}, {`~(web|db).*\d`}, {"~db[ab]$"}, {"~^x"}, {"ungrouped"}, {"ungr*"}, {"al*"}, {"lone*:!ungrouped"},
		{"big-group"}, {"big-*"}, {"h[1:2]"}, {"h1,h2:h3"}, {"h1:h2:!h1"}, {"x"}, {"y:x"}, {"nothing:web[0]"}, {"web[]"},
		{"web:db:&prod:!dba:!web02*"}, {"[ab"}, {"db[a:c]"}, {"h[!1]"}, {"h[]1]"}, {"web : db"}, {" web , db "},
		{"web", "web01*"}, {"all", "web:!web02.example.com"}, {"web", "db"}, {"all", "!web"}, {"web", "~.*5"},
		{"all", "@" + limit}, {"web", "@" + limit}, {"web", "web[0]"}, {"db", "all[3:7]"}, {"web01.example.com:web", "all"},
		{"h3:h1"}, {"db:db"}, {"10.0.0.1:lone1"}, {"all:!all"}, {"web:&"}, {"stage1:1"}, {"x::y"},
		{"*[-1]"}, {"*[-2]"}, {"[xy][3:9]"}, {"[xy][1-3]"}, {"![xy][1-3],!h2"}, {"!*[-1]"}, {"all", "!*[-2]"},
	}
	args := []string{file}
	for _, p := range patterns {
		args = append(args, p[0], strings.Join(p[1:], ""))
	}
	lines := strings.Split(strings.TrimSpace(peer.run(t, "patterns", dir, args...).Stdout), "\n")
	if len(lines) != len(patterns) {
		t.Fatalf("Ansible answered %d of %d patterns: %s", len(lines), len(patterns), lines)
	}
	for i, p := range patterns {
		hosts, err := inv.Select(p...)
		theirs := strings.Fields(lines[i])
		switch {
		case theirs[0] == "error":
			if err == nil && len(hosts) > 0 {
				t.Errorf("%q: got %v, but Ansible says %s", p, names(hosts), lines[i])
			}
		case !slices.Equal(names(hosts), theirs[1:]):
			t.Errorf("%q: got %v (%v), want %v", p, names(hosts), err, theirs[1:])
		}
	}
	for _, p := range patterns[:8] { // through the command line, too
		theirs := peer.run(t, "adhoc", dir, p[0], "-i", file, "--list-hosts")
		if hosts, err := inv.Select(p[0]); err != nil || !slices.Equal(names(hosts), listedHosts(theirs.Stdout)) {
			t.Errorf("%q: got %v (%v), want %s", p, names(hosts), err, theirs.Stdout)
		}
	}
}

// listedHosts are the hosts that `ansible --list-hosts` printed below its heading.
func listedHosts(stdout string) (hosts []string) {
	for i, line := range strings.Split(strings.TrimSpace(stdout), "\n") {
		if i > 0 {
			hosts = append(hosts, strings.TrimSpace(line))
		}
	}
	return hosts
}

func names(hosts []Host) (names []string) {
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return names
}
