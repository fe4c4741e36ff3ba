// Package orphan helps tests to see that nothing outlives a command: scripts that leave a process behind, and the wait for its end.
package orphan

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Script is a script that starts a process, writes its number to the file and goes on with the rest.
func Script(file, rest string) string {
	return fmt.Sprintf("sleep 1000 & echo $! >%s.new; mv %s.new %s; %s", file, file, file, rest)
}

// Number waits for the number that the Script writes.
func Number(t testing.TB, file string) int {
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
	t.Fatal("the script has not begun")
	return 0
}

// WantGone waits until a process is gone, or a zombie that nobody has reaped.
func WantGone(t testing.TB, pid int) {
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

// WantEnd waits for a command to end with an error.
func WantEnd(t testing.TB, done <-chan error, want error) {
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
