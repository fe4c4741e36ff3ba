package tctl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"fleetctl/enroll/child"
)

// Runner runs tctl once with these arguments and returns when it has ended: nil for exit code 0. A document that is to
// be created comes on stdin, which may be nil.
type Runner interface {
	Run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) error
}

// Func is a Runner of a cluster that has everything in memory. A code that is not 0 is a failure.
type Func func(ctx context.Context, stdin []byte, args []string) (stdout, stderr []byte, code int)

// Run calls the function.
func (f Func) Run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) error {
	var in []byte
	if stdin != nil {
		var err error
		if in, err = io.ReadAll(stdin); err != nil {
			return err
		}
	}
	out, said, code := f(ctx, in, args)
	_, werr := io.Copy(stdout, bytes.NewReader(out))
	if _, err := stderr.Write(said); err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("exit status %d", code)
	}
	return werr
}

// program is the Runner that starts a program.
type program struct {
	path    string
	args    []string
	prompts bool
	logf    func(string, ...any)
}

// Run starts the program and waits for it. A terminal as stdin becomes its own.
func (p program) Run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) error {
	all := slices.Concat(p.args, args)
	if p.logf != nil {
		p.logf("running %s %s", p.path, strings.Join(all, " "))
	}
	cmd := exec.Command(p.path, all...) //nolint:gosec // the user chose it
	cmd.Env = environment(os.Environ())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	return child.Run(ctx, cmd, child.Options{Prompts: p.prompts})
}

// toolsVersion is the variable by which tctl, from 15.4.24 on, is kept from replacing itself by the version that the
// cluster names (changelogs: #48648, #57147).
const toolsVersion = "TELEPORT_TOOLS_VERSION"

// environment is ours, without updates of the tool in the middle of a run, unless the user wants them.
func environment(env []string) []string {
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, toolsVersion+"=") }) {
		return env
	}
	return append(slices.Clone(env), toolsVersion+"=off")
}
