package enrolltest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// Conn is a host without the SSH between: what one says to it reaches the same scripts and files. It is for tests of
// many commands over many hosts, where what is in doubt is not the connection.
type Conn struct{ m *machine }

// Connect is a connection of admin, who becomes root by sudo. The error is that of a host that does not answer.
func (h *Host) Connect() (*Conn, error) {
	away := false
	h.With(func(s *State) { away = s.Down || s.Silent })
	if away {
		return nil, &remote.Error{Kind: remote.ErrUnreachable, Err: errors.New("connection refused")}
	}
	return &Conn{m: (*machine)(h)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return nil }

// call is what a script or a file of the connection travels with. The context that it returns ends with the connection.
func (c *Conn) call(ctx context.Context, become bool, in io.Reader) (context.Context, context.CancelFunc, remotetest.Call) {
	ctx, drop := context.WithCancel(ctx)
	user := "admin"
	if become {
		user = "root"
	}
	if in == nil {
		in = bytes.NewReader(nil)
	}
	return ctx, drop, remotetest.Call{Login: "admin", User: user, Stdin: in, Stdout: io.Discard, Stderr: io.Discard, Drop: drop}
}

// Run runs a script.
func (c *Conn) Run(ctx context.Context, cmd remote.Cmd) (remote.Output, error) {
	ctx, drop, call := c.call(ctx, cmd.Become, cmd.Stdin)
	defer drop()
	if err := ctx.Err(); err != nil {
		return remote.Output{}, err
	}
	var out, stderr bytes.Buffer
	call.Stdout, call.Stderr = &out, &stderr
	code := c.m.Script(ctx, &remotetest.ScriptCall{Call: call, Text: cmd.Script})
	if limit := cmp.Or(cmd.MaxOutput, 1<<20); int64(out.Len()) > limit || int64(stderr.Len()) > limit {
		return remote.Output{}, &remote.Error{Kind: remote.ErrOutputTooLong, Err: fmt.Errorf("more than %d bytes", limit)}
	}
	if code == gone {
		return remote.Output{}, lost()
	}
	return remote.Output{Stdout: out.Bytes(), Stderr: stderr.Bytes(), ExitCode: code}, nil
}

// WriteFile writes a file.
func (c *Conn) WriteFile(ctx context.Context, f remote.File, become bool) error {
	ctx, drop, call := c.call(ctx, become, nil)
	defer drop()
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.m.WriteFile(ctx, &remotetest.FileCall{
		Call: call, Path: f.Path, Mode: f.Mode, Owner: f.Owner, Group: f.Group, Size: len(f.Content),
		Receive: func() ([]byte, error) { return bytes.Clone(f.Content), nil },
	})
	var refusal *remotetest.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal) && refusal.Word == "full":
		return &remote.Error{Kind: remote.ErrNoSpace, Err: err}
	case errors.As(err, &refusal):
		return &remote.Error{Kind: remote.ErrFile, Err: err}
	}
	return lost()
}

func lost() error {
	return &remote.Error{Kind: remote.ErrDisconnected, Err: errors.New("the connection ended")}
}
