package sshconfig

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
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
