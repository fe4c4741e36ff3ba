package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
)

// defaultRunOutput bounds what a command may say that runs to its end: all of it is kept.
const defaultRunOutput = 64 << 10 // bytes of stdout and of stderr

// Run runs a command to its end.
func (c *Conn) Run(ctx context.Context, cmd Cmd) (Output, error) {
	if t := c.opts.CommandTimeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	if cmd.MaxOutput <= 0 {
		cmd.MaxOutput = defaultRunOutput
	}
	p, err := c.startCommand(ctx, cmd, int(min(cmd.MaxOutput+1, math.MaxInt32)))
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
	var stdout bytes.Buffer
	_, readErr := io.Copy(&stdout, p.Stdout)
	code, stderr, err := p.Wait()
	if cmd.Stdin == nil {
		wg.Wait()
	}
	out := Output{Stdout: stdout.Bytes(), Stderr: stderr, ExitCode: code}
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
