package remote

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

// sleeper is a script that starts a grandchild, writes its number to the file and goes on with the rest.
func sleeper(file, rest string) string {
	return fmt.Sprintf("sleep 1000 & echo $! >%s.new; mv %s.new %s; %s", file, file, file, rest)
}

// grandchild waits for the number that a sleeper writes.
func grandchild(t *testing.T, file string) int {
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
	t.Fatal("there is no grandchild")
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

func TestNothingOutlivesAskingSSH(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]string{
		"it ends and leaves a child that holds the pipe": "echo hostname h",
		"it waits for its child and is canceled":         "wait",
		"it does not end when it is told to":             "trap '' TERM; while :; do sleep 0.1; done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ssh, file := filepath.Join(dir, "ssh"), filepath.Join(dir, "pid")
			if err := os.WriteFile(ssh, []byte("#!/bin/sh\n"+sleeper(file, rest)+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := newResolver(ssh).run(ctx, nil)
				done <- err
			}()
			pid := grandchild(t, file)
			if strings.HasPrefix(rest, "echo") {
				wantEnd(t, done, nil)
			} else {
				cancel()
				wantEnd(t, done, context.Canceled)
			}
			wantGone(t, pid)
		})
	}
}

func wantEnd(t *testing.T, done <-chan error, want error) {
	t.Helper()
	select {
	case err := <-done:
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	case <-time.After(20 * time.Second):
		t.Error("it hangs")
	}
}

func TestNothingOutlivesAProxyCommand(t *testing.T) {
	t.Setenv("SHELL", "/bin/sh")
	for name, rest := range map[string]string{
		"it ended before and left a child": "exit 0",
		"it waits for its child":           "wait",
		"it does not end when told to":     "trap '' TERM; while :; do sleep 0.1; done",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			conn, err := proxyCommand("sh -c '" + strings.ReplaceAll(sleeper(file, rest), "'", `'\''`) + "'")
			if err != nil {
				t.Fatal(err)
			}
			pid := grandchild(t, file)
			done := make(chan error, 1)
			go func() { done <- conn.Close() }()
			wantEnd(t, done, nil)
			wantGone(t, pid)
		})
	}
}
