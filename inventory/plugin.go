package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"
)

// Bounds of what Ansible is run for: a plugin may ask a cloud for thousands of hosts.
const (
	ansibleTime   = 5 * time.Minute
	ansibleOutput = 256 << 20
)

// installed is the installed Ansible.
type installed struct {
	opts Options

	once  sync.Once
	known string
}

// program is the path of ansible-inventory, or "".
func (a *installed) program() string {
	if a == nil || a.opts.NoAnsible {
		return ""
	}
	path, err := exec.LookPath("ansible-inventory")
	if err != nil {
		return ""
	}
	return path
}

var coreVersion = regexp.MustCompile(`\[core (\d+)\.(\d+)([^\]]*)\]`)

// version is that of the installed ansible-core; "" where there is none, or it doesn't say.
func (a *installed) version(ctx context.Context) (major, minor int, whole string) {
	path := a.program()
	if path == "" {
		return 0, 0, ""
	}
	a.once.Do(func() {
		out, err := a.run(ctx, path, "--version")
		if err == nil {
			a.known = string(out)
		}
	})
	m := coreVersion.FindStringSubmatch(a.known)
	if m == nil {
		return 0, 0, ""
	}
	major, _ = strconv.Atoi(m[1]) // digits
	minor, _ = strconv.Atoi(m[2])
	return major, minor, m[1] + "." + m[2] + m[3]
}

// run runs ansible-inventory. What it cannot parse is an error, not a warning.
func (a *installed) run(ctx context.Context, path string, args ...string) ([]byte, error) {
	if a.opts.Logf != nil {
		a.opts.Logf("running %s %s", path, strings.Join(args, " "))
	}
	ctx, cancel := context.WithTimeout(ctx, ansibleTime)
	defer cancel()
	var stdout, stderr limitedBuffer
	stdout.left, stdout.stop = ansibleOutput, cancel
	stderr.left, stderr.stop = 1<<20, func() {}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=True", "ANSIBLE_NOCOLOR=1")
	err := runGroup(cmd)
	switch {
	case stdout.left < 0:
		return nil, fmt.Errorf("ansible-inventory printed more than %d MiB", ansibleOutput>>20)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("ansible-inventory did not end in %v", ansibleTime)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("ansible-inventory: %w: %s", err, oneLine(stderr.kept.String()))
	}
	return stdout.kept.Bytes(), nil
}

// oneLine is what Ansible said, which it wraps and decorates, as one line of bounded length.
func oneLine(stderr string) string {
	words := strings.Fields(strings.ToValidUTF8(strings.ReplaceAll(stderr, "[WARNING]:", ""), "\uFFFD"))
	line := strings.Join(words, " ")
	const most = 1000
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most/2], "") + " … " + strings.ToValidUTF8(line[len(line)-most/2:], "")
	}
	return line
}

// limitedBuffer keeps what a program prints, and calls stop when that is too much.
type limitedBuffer struct {
	kept bytes.Buffer
	left int
	stop func()
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		b.stop()
		return len(p), nil
	}
	return b.kept.Write(p)
}

// pluginLine is what a file has that configures an inventory plugin.
var pluginLine = regexp.MustCompile(`(?m)^plugin[ \t]*:`)

// plugin is the key that says which inventory plugin the document configures, or nil.
func (d *document) plugin() *yaml.Node {
	if !d.isMapping() {
		return nil
	}
	root := follow(d.root)
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "plugin" && !d.isNull(root.Content[i+1]) {
			return root.Content[i]
		}
	}
	return nil
}

// plugin has Ansible run the plugin that a document configures. One that makes groups of the hosts that are there is given
// the sources before it.
func (l *loader) plugin(ctx context.Context, doc *document) error {
	key := doc.plugin()
	var before []string
	root := follow(doc.root)
	name := follow(root.Content[slices.Index(root.Content, key)+1]).Value
	if strings.HasSuffix(name, "constructed") {
		before = l.sources
	}
	return l.byAnsible(ctx, doc.pos(key), "this configures an inventory plugin of Ansible, which only Ansible can run", before...)
}

// byAnsible has Ansible read the file of the place, behind other sources. Without Ansible it says why that would be needed.
func (l *loader) byAnsible(ctx context.Context, pos Pos, why string, before ...string) error {
	path := l.ansible.program()
	_, statErr := os.Stat(pos.File)
	if path == "" || statErr != nil || slices.Contains(before, stdin) {
		return errorAt(pos, "%s, and no ansible-inventory was run: pipe `ansible-inventory -i %s --list` into standard input and "+
			"read it with -i -", why, pos.File)
	}
	args := slices.Clone(l.opts.AnsibleArgs)
	for _, source := range append(slices.Clone(before), pos.File) {
		args = append(args, "-i", source)
	}
	out, err := l.ansible.run(ctx, path, append(args, "--list", "--export")...)
	if err != nil {
		return &Error{Pos: pos, Msg: why, Err: err}
	}
	file := pos.File + " (ansible-inventory)"
	if err := checkUTF8(file, out); err != nil {
		return err
	}
	if err := l.keys.mention(ctx, out); err != nil {
		return err
	}
	doc, err := parseJSON(file, out, true)
	if err != nil {
		return err
	}
	if !doc.isMapping() {
		return errorAt(pos, "ansible-inventory printed no JSON object")
	}
	return addListing(l.graph, doc, nil)
}
