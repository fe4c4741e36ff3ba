package remote

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
)

// runHead is how much of a command's stdout is kept from its beginning where the caller names no limit, in bytes: of an
// installer that talks much, nobody wants more.
const runHead = 64 << 10

// Run runs a command to its end.
func (c *Conn) Run(ctx context.Context, cmd Cmd) (Output, error) {
	if t := c.opts.CommandTimeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	kept := headTail{first: runHead}
	if cmd.MaxOutput > 0 {
		kept.first = int(min(cmd.MaxOutput, math.MaxInt32))
	}
	p, err := c.startCommand(ctx, cmd, int(min(cmp.Or(cmd.MaxOutput, defaultMaxOutput), math.MaxInt32-1))+1)
	if err != nil {
		return Output{}, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if cmd.Stdin != nil {
			_, _ = io.Copy(p.Stdin, cmd.Stdin) // a script need not read all of it
		}
		_ = p.Stdin.Close()
	})
	_, readErr := io.CopyBuffer(&kept, p.Stdout, make([]byte, 4<<10))
	code, stderr, err := p.Wait()
	if cmd.Stdin == nil {
		wg.Wait()
	}
	out := Output{Stdout: kept.bytes(), Stderr: stderr, ExitCode: code}
	if err == nil && readErr != nil {
		err = c.lost(readErr)
	}
	return out, err
}

// Start starts a command; it returns when the script runs (become included), so that Stdin belongs to the script.
func (c *Conn) Start(ctx context.Context, cmd Cmd) (*Process, error) {
	return c.startCommand(ctx, cmd, 0)
}

func (c *Conn) startCommand(ctx context.Context, cmd Cmd, ahead int) (*Process, error) {
	if strings.ContainsRune(cmd.Script, 0) {
		return nil, &Error{Kind: ErrConfig, Err: errors.New("a script cannot hold NUL")}
	}
	return c.start(ctx, launch{
		body: "( eval " + Quote(cmd.Script) + " )", become: cmd.Become, maxOutput: cmd.MaxOutput,
		noStdin: cmd.Stdin == nil, maxAhead: ahead,
	})
}
