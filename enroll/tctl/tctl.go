package tctl

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// ErrNoResource is what the cluster says of a token or bot that it does not have.
var ErrNoResource = errors.New("not in the cluster")

// maxTctlOutput bounds what is read from tctl: a token's JSON is at most a few MiB.
const maxTctlOutput = 64 << 20

// Tctl runs Teleport's tctl, with whatever rights its environment gives it.
type Tctl struct {
	Path   string    // the program
	Args   []string  // before the command: "exec deploy/auth -- tctl" when Path is kubectl
	Stdin  io.Reader // for prompts for a second factor; nil: none
	Stderr io.Writer // where prompts appear; nil: nowhere
	Logf   func(string, ...any)
}

// New finds the tctl of fleet.yaml (cluster.tctl). Several words are a command that runs a tctl elsewhere, which
// then gets its files over standard input. The error says where it was looked for.
func New(cfg config.Config) (Tctl, error) {
	words := strings.Fields(cmp.Or(cfg.Cluster.Tctl, "tctl"))
	if info, err := os.Stat(cfg.Cluster.Tctl); err == nil && info.Mode().IsRegular() {
		words = []string{cfg.Cluster.Tctl} // a path with spaces
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
	return Tctl{Path: path, Args: words[1:]}, nil
}

func unwrapExec(err error) error {
	if e := (*exec.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// remote reports whether tctl sees other files than we do.
func (t Tctl) remote() bool { return len(t.Args) > 0 }

// tctlError is a tctl that ended badly, with what it said.
type runError struct {
	args   []string
	output string
	err    error
}

func (e *runError) Error() string {
	if e.output == "" {
		return fmt.Sprintf("tctl %s: %v", strings.Join(e.args, " "), e.err)
	}
	return fmt.Sprintf("tctl %s: %v: %s", strings.Join(e.args, " "), e.err, e.output)
}

func (e *runError) Unwrap() error { return e.err }

// run runs tctl once and returns its standard output.
func (t Tctl) run(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	all := slices.Concat(t.Args, args)
	if t.Logf != nil {
		t.Logf("running %s %s", t.Path, strings.Join(all, " "))
	}
	cmd := exec.CommandContext(ctx, t.Path, all...) //nolint:gosec // the user chose it
	cmd.Stdin = stdin
	stdout, stderr := &BoundedBuffer{Max: maxTctlOutput}, &BoundedBuffer{Max: 64 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if t.Stderr != nil && stdin != nil {
		cmd.Stderr = io.MultiWriter(stderr, t.Stderr) // a prompt has to be seen
	}
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		said := strings.TrimSpace(stderr.String() + "\n" + remote.Head(stdout.String(), 4096))
		return nil, &runError{args: args, output: remote.Clean(said), err: err}
	case stdout.cut:
		return nil, &runError{args: args, err: fmt.Errorf("printed more than %d bytes", maxTctlOutput)}
	}
	return stdout.Bytes(), nil
}

// BoundedBuffer keeps the first max bytes.
type BoundedBuffer struct {
	bytes.Buffer
	Max int
	cut bool
}

func (b *BoundedBuffer) Write(p []byte) (int, error) {
	room := b.Max - b.Len()
	if len(p) > room {
		b.cut = true
		b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// notFound recognises tctl's words for a resource that does not exist: `provisioning token(****) not found`,
// `bot "x" not found`, `key "/tokens/x" is not found`. Anything else that is not found (a host, a file, a login) is a
// failure: taken for an absent token, it would end with overwriting one.
var notFound = regexp.MustCompile(
	`(?im)^(ERROR: *)?(provisioning token|token|bot|user|key|resource)\b[^\n]*\b(not found|doesn't exist)`)

// Get reads one resource as JSON; errNoResource when the cluster has none of that name.
func (t Tctl) Get(ctx context.Context, kind, name string, into any) error {
	out, err := t.run(ctx, nil, "get", kind+"/"+name, "--format=json")
	if e := (*runError)(nil); errors.As(err, &e) && notFound.MatchString(e.output) {
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

// Create creates or, with force, replaces the resource in a file.
func (t Tctl) Create(ctx context.Context, file string, force bool) error {
	args := []string{"create"}
	if force {
		args = append(args, "-f")
	}
	if !t.remote() {
		stdin := t.Stdin
		if stdin == nil {
			stdin = strings.NewReader("")
		}
		_, err := t.run(ctx, stdin, append(args, file)...)
		return err
	}
	f, err := os.Open(file) //nolint:gosec // our own file
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = t.run(ctx, f, args...)
	return err
}

// Remove deletes a resource.
func (t Tctl) Remove(ctx context.Context, kind, name string) error {
	stdin := t.Stdin
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	_, err := t.run(ctx, stdin, "rm", kind+"/"+name)
	return err
}
