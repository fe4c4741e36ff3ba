package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fleetctl/enroll/host/origin"
	"fleetctl/enroll/outcome"
	"fleetctl/remote"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Conn is what enroll needs of a connection; *remote.Conn is one.
type Conn interface {
	Run(ctx context.Context, cmd remote.Cmd) (remote.Output, error)
	WriteFile(ctx context.Context, f remote.File, become bool) error
	Close() error
}

func stepFailed(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

var errScript = outcome.NewError(outcome.StepFailed, "it failed on the host")

// runScript runs a step's script as root; any command of it that fails, fails it.
func runScript(ctx context.Context, conn Conn, script string) error {
	return runScriptWith(ctx, conn, script, nil)
}

func runScriptWith(ctx context.Context, conn Conn, script string, stdin []byte) error {
	cmd := remote.Cmd{Script: scriptPrelude + handFunction + placeFunctions + "umask 022\nset -e\n" + script + "\n", Become: true}
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	out, err := conn.Run(ctx, cmd)
	if err != nil {
		return err
	}
	if out.ExitCode != 0 {
		said := cmp.Or(remote.Tail(string(out.Stderr), 500), remote.Tail(string(out.Stdout), 500))
		return fmt.Errorf("%w (exit code %d): %s", errScript, out.ExitCode, cmp.Or(remote.Line(said), "it said nothing"))
	}
	return nil
}

// push is a large file that goes to the host in pieces that can be resumed, before the script that uses it. Where it is
// complete already, nothing is sent.
type push struct {
	local  string
	url    string // where the controller gets it, for a host that can't
	remote string
	sha256 string // lower-case hex
	size   int64

	via *origin.Downloads
}

// Pieces of a push: small enough to keep sshd's channel buffer from growing, with a pause after each. See
// docs/enroll.md, "Installing tbot".
const (
	pushPiece = 64 << 10
	pushPause = time.Millisecond
)

// pacedReader gives pieces with pauses.
type pacedReader struct {
	ctx context.Context
	r   io.Reader
}

func (p pacedReader) Read(b []byte) (int, error) {
	select {
	case <-time.After(pushPause):
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
	return p.r.Read(b[:min(len(b), pushPiece)])
}

// send pushes the file: what is there already of it stays, as far as it goes; then the checksum decides, and a wrong
// one gets a second try from the start.
func (p push) send(ctx context.Context, conn Conn) error {
	if p.url != "" {
		f, err := p.via.Get(ctx, p.url, p.sha256)
		if err != nil {
			return err
		}
		p.local, p.size = f.Name, f.Size
	}
	for range 2 {
		have, whole, err := p.there(ctx, conn)
		if err != nil || whole {
			return err
		}
		if err := p.rest(ctx, conn, have); err != nil {
			return err
		}
		if _, whole, err = p.there(ctx, conn); err != nil || whole {
			return err
		}
		if err := runScript(ctx, conn, "rm -f "+remote.Quote(p.remote)); err != nil {
			return err
		}
	}
	return errors.New("the file arrived with a wrong checksum, twice")
}

// there asks how much of the file the host has, and whether it is whole.
func (p push) there(ctx context.Context, conn Conn) (have int64, whole bool, err error) {
	script := fmt.Sprintf(`part=%s
stage "${part%%/*}"
if sole "$part"; then
  size=$(stat -c %%s "$part")
  if [ "$size" = %d ]; then sha256sum <"$part" | cut -d' ' -f1; else echo "$size"; fi
else rm -f "$part"; echo 0; fi`, remote.Quote(p.remote), p.size)
	out, err := conn.Run(ctx, remote.Cmd{Script: scriptPrelude + "set -e\n" + script, Become: true, MaxOutput: 4096})
	if err != nil {
		return 0, false, err
	}
	said := strings.TrimSpace(string(out.Stdout))
	if out.ExitCode != 0 {
		return 0, false, fmt.Errorf("%w (exit code %d): %s", errScript, out.ExitCode, remote.Line(remote.Tail(string(out.Stderr), 300)))
	}
	if len(said) == 64 {
		return 0, said == p.sha256, nil
	}
	have, err = strconv.ParseInt(said, 10, 64)
	if err != nil || have < 0 || have > p.size {
		have = 0
	}
	return have, false, nil
}

// rest sends the file from an offset on.
func (p push) rest(ctx context.Context, conn Conn, from int64) error {
	f, err := os.Open(p.local)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	op := ">>"
	if from == 0 {
		op = ">"
	}
	out, err := conn.Run(ctx, remote.Cmd{
		Script: "umask 077; cat " + op + remote.Quote(p.remote), Stdin: pacedReader{ctx, f}, Become: true, MaxOutput: 4096,
	})
	if err != nil {
		return err
	}
	if out.ExitCode != 0 {
		if bytes.Contains(out.Stderr, []byte("No space")) {
			return fmt.Errorf("%w: %s", remote.ErrNoSpace, remote.Line(remote.Tail(string(out.Stderr), 300)))
		}
		return fmt.Errorf("%w (exit code %d): %s", errScript, out.ExitCode, remote.Line(remote.Tail(string(out.Stderr), 300)))
	}
	return nil
}
