// Package memcluster is a Teleport cluster in memory: tctl's words on one side, the joins of tbots on the other, by version.
package memcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Cluster is a Teleport cluster in memory, behind tctl's words. Its fields are set before use; a test changes what it
// holds by Put and Delete, as another administrator would.
type Cluster struct {
	Name    string           // default example.com
	Pins    []string         // of its CAs; default one that says nothing
	Version string           // "18.4.0": what it checks, and in which words it answers
	OSS     bool             // has no licence for the tpm join method
	MFA     bool             // wants a second factor for tokens and bots, and gets none
	Now     func() time.Time // default time.Now

	// Before is told of each command before it runs: an error is what tctl fails with, and nothing happens. After is told
	// when it has happened: an error means that its answer is lost. Both may use the cluster.
	Before func(Command) error
	After  func(Command) error

	t         testing.TB
	mu        sync.Mutex
	tokens    map[string]*token
	bots      map[string]*botResource
	locks     []string // users and bot instances
	instances []*instance
	log       []Command
	revision  int
}

// Command is one run of tctl.
type Command struct {
	N     int      // from 1
	Args  []string // as they were given
	Verb  string   // the first of them: create, get, rm, status, lock, version
	Input string   // the file or stdin of create
	Code  int      // how it ended; 0 while it runs
}

// NewCluster makes an empty cluster of that version.
func NewCluster(t testing.TB, version string) *Cluster {
	return &Cluster{
		Name: "example.com", Pins: []string{"sha256:" + strings.Repeat("cd", 32)}, Version: version,
		Now: time.Now, t: t, tokens: map[string]*token{}, bots: map[string]*botResource{},
	}
}

// Commands are all commands so far, the oldest first.
func (c *Cluster) Commands() []Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// words is an error as tctl prints it: a level a line.
type words []string

func (w words) Error() string { return strings.Join(w, ": ") }

// errUnscripted is a command that nobody foresaw.
var errUnscripted = errors.New("not modelled")

// Run runs tctl: args without the program's name. create reads the file that args name, else stdin.
func (c *Cluster) Run(ctx context.Context, stdin []byte, args []string) (stdout, stderr []byte, code int) {
	cmd := c.begin(stdin, args)
	out, err := "", error(nil)
	if c.Before != nil {
		err = c.Before(cmd)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		c.mu.Lock()
		out, err = c.do(cmd)
		c.mu.Unlock()
	}
	if errors.Is(err, errUnscripted) {
		c.t.Errorf("tctl %q: %v", args, err)
	}
	if c.After != nil && !errors.Is(err, errUnscripted) {
		if lost := c.After(cmd); lost != nil {
			out, err = "", lost
		}
	}
	if err != nil {
		code, stderr = 1, []byte(said(err))
	}
	c.mu.Lock()
	c.log[cmd.N-1].Code = code
	c.mu.Unlock()
	return []byte(out), stderr, code
}

// said is an error in tctl's dress: colour codes, a tab more a level, an empty line at the end.
func said(err error) string {
	var levels words
	if !errors.As(err, &levels) {
		levels = words{err.Error()}
	}
	text := Red
	for i, level := range levels {
		text += strings.Repeat("\t", i) + level + "\n"
	}
	return text + "\n"
}

func (c *Cluster) begin(stdin []byte, args []string) Command {
	cmd := Command{Args: slices.Clone(args), Input: string(stdin)}
	if len(args) > 0 {
		cmd.Verb = args[0]
	}
	if file := operand(args); cmd.Verb == "create" && file != "" {
		if data, err := os.ReadFile(file); err == nil {
			cmd.Input = string(data)
		} else {
			cmd.Input = ""
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cmd.N = len(c.log) + 1
	c.log = append(c.log, cmd)
	return cmd
}

// operand is the first argument after the command that is no flag.
func operand(args []string) string {
	for _, a := range args[min(1, len(args)):] {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

// options are the flags of a command; what is not in known is not modelled.
func (cmd Command) options(known string) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range cmd.Args[1:] {
		if !strings.HasPrefix(a, "-") {
			continue
		}
		name, value, _ := strings.Cut(a, "=")
		if !slices.Contains(strings.Fields(known), name) {
			return nil, fmt.Errorf("%w: flag %s", errUnscripted, a)
		}
		out[name] = value
	}
	return out, nil
}

func (c *Cluster) do(cmd Command) (string, error) {
	switch cmd.Verb {
	case "create":
		return c.create(cmd)
	case "get":
		return c.get(cmd)
	case "rm":
		return c.remove(cmd)
	case "lock":
		return c.lock(cmd)
	case "version":
		return VersionLine(c.Version) + "\n", nil
	case "status":
		out := fmt.Sprintf("Cluster  %s\nVersion  %s\nhost CA  never updated\nuser CA  never updated\n", c.Name, c.Version)
		for _, pin := range c.Pins {
			out += "CA pin   " + pin + "\n"
		}
		return out, nil
	}
	return "", errUnscripted
}

var errMFA = words{"admin-level API request requires MFA verification"}

// create applies documents in turn and stops at the first that fails: what stands before it stays applied.
func (c *Cluster) create(cmd Command) (string, error) {
	set, err := cmd.options("-f --force")
	if err != nil {
		return "", err
	}
	_, force := set["-f"]
	_, long := set["--force"]
	if file := operand(cmd.Args); file != "" {
		if _, err := os.Stat(file); err != nil {
			return "", words{fmt.Sprintf("could not find file %q: stat %s: no such file or directory", file, file)}
		}
	}
	docs, err := documents(cmd.Input)
	if err != nil {
		return "", err
	}
	if len(docs) == 0 {
		return "", words{"no resources found, empty input?"}
	}
	out := ""
	for _, doc := range docs {
		line, err := c.put(doc, force || long)
		if err != nil {
			return out, err
		}
		out += line
	}
	return out, nil
}

func (c *Cluster) put(doc document, force bool) (string, error) {
	switch {
	case c.MFA:
		return "", errMFA
	case doc.kind == "token":
		t, err := c.parseToken(doc)
		if err != nil {
			return "", err
		}
		c.revision++
		t.Metadata.Revision = fmt.Sprintf("00000000-0000-4000-8000-%012d", c.revision)
		c.tokens[t.Metadata.Name] = t // with or without -f
		return fmt.Sprintf("provision_token %q has been created\n", t.Metadata.Name), nil
	case doc.kind == "bot":
		b, err := parseBot(doc)
		if err != nil {
			return "", err
		}
		if c.bots[b.Metadata.Name] != nil && !force {
			return "", words{fmt.Sprintf("bot %q already exists", b.Metadata.Name)}
		}
		c.bots[b.Metadata.Name] = b
		return fmt.Sprintf("bot %q has been created\n", b.Metadata.Name), nil
	}
	return "", fmt.Errorf("%w: creating a %q", errUnscripted, doc.kind)
}

// Put applies YAML documents as another administrator does.
func (c *Cluster) Put(yaml string) error {
	docs, err := documents(yaml)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, doc := range docs {
		if _, err := c.put(doc, true); err != nil {
			return err
		}
	}
	return nil
}

// Locks are the users and bot instances that were locked.
func (c *Cluster) Locks() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.locks)
}

// Delete removes a resource ("token/fleet") as another administrator does. It says whether it was there.
func (c *Cluster) Delete(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.remove(Command{Args: []string{"rm", name}})
	return err == nil
}

func (c *Cluster) remove(cmd Command) (string, error) {
	if _, err := cmd.options(""); err != nil {
		return "", err
	}
	kind, name, _ := strings.Cut(operand(cmd.Args), "/")
	switch kind {
	case "token", "tokens":
		if c.MFA {
			return "", errMFA
		}
		if c.tokens[name] == nil {
			return "", noToken(name)
		}
		delete(c.tokens, name)
		return fmt.Sprintf("token %q has been deleted\n", name), nil
	case "bot", "bots":
		if c.bots[name] == nil {
			return "", noBot(name)
		}
		delete(c.bots, name)
		return fmt.Sprintf("bot %q has been deleted\n", name), nil
	}
	return "", errUnscripted
}

// noToken hides three quarters of the name, as the auth service does.
func noToken(name string) error {
	hidden := len(name) * 3 / 4
	return words{"provisioning token(" + strings.Repeat("*", hidden) + name[hidden:] + ") not found"}
}

func noBot(name string) error {
	return words{"fetching bot user", fmt.Sprintf("user %q not found", "bot-"+name)}
}

func (c *Cluster) lock(cmd Command) (string, error) {
	set, err := cmd.options("--user --bot-instance-id --message --ttl")
	if err != nil {
		return "", err
	}
	target := set["--user"]
	if id, ok := set["--bot-instance-id"]; ok {
		if !Since(c.Version, "18.0.0") {
			return "", words{"unknown long flag '--bot-instance-id'"}
		}
		target = id
	}
	if target == "" {
		return "", fmt.Errorf("%w: lock without --user= or --bot-instance-id=", errUnscripted)
	}
	c.locks = append(c.locks, target)
	return fmt.Sprintf("Created a lock with name \"%08x-0000-4000-8000-000000000000\".\n", len(c.locks)), nil
}
