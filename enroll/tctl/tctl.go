package tctl

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"fleetctl/enroll/child"
	"fleetctl/enroll/config"
	"fleetctl/enroll/halt"
	"fleetctl/enroll/outcome"
)

// ErrNoResource is what the cluster says of a token or bot that it does not have.
var ErrNoResource = errors.New("not in the cluster")

// Limits of a run of tctl.
const (
	defaultTimeout = 2 * time.Minute // a person may have to find the key first

	maxOutput = 64 << 20 // of one resource: a token's JSON is at most a few MiB
	maxWords  = 64 << 10 // of standard error, from its end
)

// Tctl runs Teleport's tctl, with whatever rights its environment gives it.
type Tctl struct {
	Path    string        // the program
	Args    []string      // before the command: "exec deploy/auth -- tctl" when Path is kubectl
	Stdin   io.Reader     // for prompts for a second factor; nil: none
	Stderr  io.Writer     // where prompts appear; nil: nowhere
	Timeout time.Duration // of one run; 0: DefaultTimeout
	Logf    func(string, ...any)
	Runner  Runner // runs tctl in another way than as the program at Path; nil: it doesn't

	turns *turns // who may ask on the terminal; nil: runs don't wait for each other
}

// New finds the tctl of fleet.yaml (cluster.tctl). Several words are a command that runs a tctl elsewhere, which then
// gets its files over standard input. The error says where it was looked for.
func New(cfg config.Config) (Tctl, error) {
	words, err := config.CommandWords(cmp.Or(strings.TrimSpace(cfg.Cluster.Tctl), "tctl"))
	if err != nil {
		return Tctl{}, fmt.Errorf("%w: cluster.tctl: %w", outcome.ErrInput, err)
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		where := "in PATH (" + os.Getenv("PATH") + ")"
		if strings.ContainsRune(words[0], filepath.Separator) {
			where = "as " + words[0]
		}
		return Tctl{}, outcome.WithHint(fmt.Errorf("tctl: looked for %s %s: %w", words[0], where, unwrapExec(err)),
			"install tctl, or name it in fleet.yaml (cluster: {tctl: /usr/local/bin/tctl}); without it, copy out/ to where "+
				"tctl is and run \"tctl create\" for bot.yaml and \"tctl create -f\" for each token")
	}
	return Tctl{Path: path, Args: words[1:], turns: &turns{}}, nil
}

func unwrapExec(err error) error {
	e := (*exec.Error)(nil)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return errors.New("it is not there")
	case errors.As(err, &e):
		return e.Err
	}
	return err
}

// remote reports whether tctl sees other files than we do.
func (t Tctl) remote() bool { return len(t.Args) > 0 || t.Runner != nil }

// limit is the time that one run may take.
func (t Tctl) limit() time.Duration { return cmp.Or(t.Timeout, defaultTimeout) }

// prompts says whether tctl may ask somebody.
func (t Tctl) prompts() bool { return t.Runner == nil && child.Terminal(t.Stdin) }

// run runs tctl once and returns its standard output.
func (t Tctl) run(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	out := &child.Head{Max: maxOutput}
	if err := t.stream(ctx, stdin, out, args...); err != nil {
		return nil, err
	}
	if out.Cut() {
		return nil, fmt.Errorf("tctl %s: printed more than %d bytes", strings.Join(args, " "), maxOutput)
	}
	return out.Bytes(), nil
}

// stream runs tctl once and hands its standard output on. The error of a tctl that ended badly is a *runError.
func (t Tctl) stream(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	words := &child.Tail{Max: maxWords}
	stderr := io.Writer(words)
	if t.prompts() {
		shown := &promptWriter{w: t.Stderr}
		stderr = io.MultiWriter(words, shown)
		defer t.turns.take(args, shown)()
	}
	limit := t.limit()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := t.runner().Run(limited, stdin, stdout, stderr, args...)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("tctl %s: no answer in %s: %w", strings.Join(args, " "), limit, limited.Err())
	}
	said := words.String()
	if head, ok := stdout.(*child.Head); ok && strings.TrimSpace(said) == "" {
		said = string(head.Bytes()) // of a wrapper that mixes both
	}
	return explain(&runError{args: args, said: parseWords(said), err: err})
}

// get reads with tctl; where somebody sits at a terminal, tctl may ask for a second factor.
func (t Tctl) get(ctx context.Context, args ...string) ([]byte, error) {
	var stdin io.Reader
	if t.prompts() {
		stdin = t.Stdin
	}
	return t.run(ctx, stdin, args...)
}

// Get reads one resource as JSON; ErrNoResource when the cluster has none of that name.
func (t Tctl) Get(ctx context.Context, kind, name string, into any) error {
	out, err := t.get(ctx, "get", kind+"/"+name, "--format=json")
	if e := (*runError)(nil); errors.As(err, &e) && e.said.missing(kind, name) {
		return fmt.Errorf("%s %s: %w", kind, name, ErrNoResource)
	}
	if err != nil {
		return err
	}
	found, err := OneOfJSON(out)
	if err != nil {
		return fmt.Errorf("tctl get %s/%s: %w", kind, name, err)
	}
	if found == nil {
		return fmt.Errorf("%s %s: %w", kind, name, ErrNoResource)
	}
	return json.Unmarshal(found, into)
}

// OneOfJSON returns the only resource of tctl's answer, which is a list or, from some versions, the resource itself.
// It is nil for an empty list.
func OneOfJSON(out []byte) (json.RawMessage, error) {
	out = bytes.TrimSpace(out)
	if len(out) == 0 || out[0] != '[' {
		return out, checkJSON(out)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("printed no JSON: %w", err)
	}
	switch len(list) {
	case 0:
		return nil, nil
	case 1:
		return list[0], nil
	}
	return nil, fmt.Errorf("printed %d resources instead of one", len(list))
}

func checkJSON(out []byte) error {
	if !json.Valid(out) || out[0] != '{' {
		return errors.New("printed no JSON object")
	}
	return nil
}

// Create creates or, with force, replaces the resource in a file. A token is replaced without force, too: that is how
// tctl creates them in every version.
func (t Tctl) Create(ctx context.Context, file string, force bool) error {
	args := []string{"create"}
	if force {
		args = append(args, "-f")
	}
	if !t.remote() {
		return t.write(ctx, t.Stdin, append(args, file)...)
	}
	f, err := os.Open(file) //nolint:gosec // our own file
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return t.write(ctx, f, args...)
}

// Remove deletes a resource.
func (t Tctl) Remove(ctx context.Context, kind, name string) error {
	return t.write(ctx, t.Stdin, "rm", kind+"/"+name)
}

// write changes something in the cluster. Once it has begun it comes to its end also when the run is to end.
func (t Tctl) write(ctx context.Context, stdin io.Reader, args ...string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	ctx, finished := halt.Finish(ctx)
	defer finished()
	_, err := t.run(ctx, stdin, args...)
	return err
}

func (t Tctl) runner() Runner {
	if t.Runner != nil {
		return t.Runner
	}
	return program{path: t.Path, args: t.Args, prompts: t.prompts(), logf: t.Logf}
}
