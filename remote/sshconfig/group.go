package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"fleetctl/remote/text"
)

// runGroup runs a command of exec.CommandContext in a process group of its own. When the context ends the group is told
// to end; a moment later, or when the command has ended, what is left of it is killed. So nothing that the command
// started outlives it or, by holding its output open, keeps us waiting.
func runGroup(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 300 * time.Millisecond // somebody who presses Ctrl-C waits for it
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly nobody is left
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it ended well, and what it left behind held its output open
	}
	return err
}

// Output runs a command as runGroup does, and returns at most limit bytes of what it prints; more is an error.
func Output(cmd *exec.Cmd, limit int) ([]byte, error) {
	out, errOut := bounded{left: limit, stop: true}, bounded{left: 4 << 10}
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := runGroup(cmd)
	switch {
	case out.more:
		return nil, fmt.Errorf("it printed more than %d bytes", limit)
	case err != nil && errOut.kept.Len() > 0:
		return nil, fmt.Errorf("%w: %s", err, text.Line(errOut.kept.String()))
	}
	return out.kept.Bytes(), err
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	kept bytes.Buffer
	left int
	stop bool // nobody reads on when there is more: the command ends
	more bool // there was
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.kept.Write(p[:n])
	b.left -= n
	if b.more = b.more || n < len(p); b.more && b.stop {
		return n, io.ErrShortWrite
	}
	return len(p), nil
}
