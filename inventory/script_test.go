package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestNothingOutlivesAnExecutable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rest   string
		cancel bool
	}{
		"it ends and leaves a child that holds the pipe": {rest: `echo '{"a": ["h"], "_meta": {"hostvars": {}}}'`},
		"it waits for its child and is canceled":         {rest: "wait", cancel: true},
		"it does not end when it is told to":             {rest: "trap '' TERM; while :; do sleep 0.1; done", cancel: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			pidFile := filepath.Join(dir, "pid")
			text := fmt.Sprintf("#!/bin/sh\nsleep 1000 & echo $! >%s.new; mv %s.new %s\n%s\n", pidFile, pidFile, pidFile, c.rest)
			file := writeFile(t, filepath.Join(dir, "inv"), text, 0o755)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := Load(ctx, []string{file}, Options{})
				done <- err
			}()
			pid := awaitPID(t, pidFile)
			if c.cancel {
				cancel()
			}
			select {
			case err := <-done:
				if c.cancel != errors.Is(err, context.Canceled) || !c.cancel && err != nil {
					t.Errorf("got %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("it hangs")
			}
			wantGone(t, pid)
		})
	}
}

// awaitPID waits for a file with the number of a process.
func awaitPID(t *testing.T, file string) int {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if raw, err := os.ReadFile(file); err == nil {
			pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the script did not begin")
	return 0
}

// wantGone waits until a process is gone, or a zombie that nobody has reaped.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d lives on", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}
