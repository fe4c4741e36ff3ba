package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// script runs the file with --list when it is executable. ran is false for a file that the kernel cannot execute: a text
// file with the executable bit set, which is read like any other.
func (l *loader) script(ctx context.Context, path string) (ran bool, err error) {
	if unix.Access(path, unix.X_OK) != nil {
		return false, nil
	}
	out, err := runScript(ctx, path, "--list")
	if errors.Is(err, syscall.ENOEXEC) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	file := path + " --list"
	if err := checkUTF8(file, out); err != nil {
		return true, err
	}
	if err := l.keys.mention(ctx, out); err != nil {
		return true, err
	}
	doc, err := parseJSON(file, out, true)
	if err != nil {
		return true, err
	}
	if !doc.isMapping() {
		return true, errorAt(doc.pos(doc.root), "an executable inventory must print a JSON object")
	}
	return true, addListing(l.graph, doc, func(host string) (map[string]any, error) {
		return l.askScript(ctx, path, host)
	})
}

// askScript runs the executable with --host, as Ansible does where --list gave no _meta.
func (l *loader) askScript(ctx context.Context, path, host string) (map[string]any, error) {
	out, err := runScript(ctx, path, "--host", host)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(out)) == 0 {
		return nil, nil
	}
	if err := l.keys.mention(ctx, out); err != nil {
		return nil, err
	}
	file := path + " --host " + host
	doc, err := parseDocument(file, out)
	if err != nil || doc.root == nil {
		return nil, err
	}
	v, err := doc.value(doc.root)
	if err != nil {
		return nil, err
	}
	vars, ok := v.(map[string]any)
	if !ok {
		return nil, errorAt(doc.pos(doc.root), "an executable inventory must print a JSON object")
	}
	return vars, nil
}

func runScript(ctx context.Context, path string, args ...string) ([]byte, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, abs, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := runGroup(cmd); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("inventory %s %s: %w%s", path, strings.Join(args, " "), err, lastWords(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// scriptGrace is how long a script that was told to end has until it is killed, and how long what it started may hold
// its output open when it has ended.
const scriptGrace = 500 * time.Millisecond

// runGroup runs a script of exec.CommandContext in a process group of its own, of which nothing is left when it ends.
func runGroup(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = scriptGrace
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly nobody is left
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it ended well, and printed all that it had to
	}
	return err
}

// lastWords is the end of what a program said before it failed.
func lastWords(stderr string) string {
	stderr = strings.TrimSpace(stderr)
	if stderr == "" {
		return ""
	}
	const most = 500
	if len(stderr) > most {
		stderr = "…" + stderr[len(stderr)-most:]
	}
	return ": " + strings.ToValidUTF8(stderr, "\uFFFD")
}
