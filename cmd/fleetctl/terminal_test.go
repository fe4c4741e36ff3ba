//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// begun is a fleetctl in a process of its own, which somebody watches.
type begun struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string
	said   lockedBuffer  // stderr, or what the terminal shows
	stdout lockedBuffer  // nothing on a terminal
	person *os.File      // the terminal; nil: there is none
	keys   *os.File      // what is written there is typed
	done   chan struct{} // closed at its end
}

// begin starts fleetctl in a fleet's directory, on a terminal of its own where one is wanted.
func (w *world) begin(t *testing.T, terminal bool, env []string, args ...string) *begun {
	t.Helper()
	b := &begun{t: t, dir: w.dir, cmd: exec.Command("fleetctl", args...), done: make(chan struct{})}
	b.cmd.Dir = w.dir
	b.cmd.Env = append(w.environment(t), env...)
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, &b.said
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if terminal {
		b.openTerminal()
	}
	b.start()
	return b
}

// start starts the command, and ends it with the test.
func (b *begun) start() {
	b.t.Helper()
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		_ = b.cmd.Wait() // how it ended is in its state
		close(b.done)
	}()
	b.t.Cleanup(func() {
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
		<-b.done
	})
}

// openTerminal gives the command a terminal, whose screen is what it said.
func (b *begun) openTerminal() {
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		b.t.Skipf("no terminals here: %v", err)
	}
	b.t.Cleanup(func() { _ = person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = tty.Close() }) // it stays open here, so that its settings can be read at the end
	b.person, b.keys = tty, person
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr = tty, tty, tty
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			if err != nil {
				return
			}
			_, _ = b.said.Write(buf[:n])
		}
	}()
}

// echoes says whether the terminal shows what is typed.
func (b *begun) echoes() bool {
	b.t.Helper()
	state, err := unix.IoctlGetTermios(int(b.person.Fd()), unix.TCGETS)
	if err != nil {
		b.t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// sees waits until the command said something.
func (b *begun) sees(text string) {
	b.t.Helper()
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("it said %q", b.said.String())
		}
	})
	waitFor(b.t, "it says "+text, func() bool { return strings.Contains(b.said.String(), text) })
}

// made waits for a file of the directory.
func (b *begun) made(name string) string {
	b.t.Helper()
	var raw []byte
	waitFor(b.t, "there is "+name, func() bool {
		var err error
		raw, err = os.ReadFile(filepath.Join(b.dir, name))
		return err == nil && bytes.HasSuffix(raw, []byte("\n"))
	})
	return strings.TrimSpace(string(raw))
}

// holds waits until the command has something open: a file by the end of its path, or a socket by "socket:". It has long
// begun to hear signals by then, which a time alone doesn't say.
func (b *begun) holds(what string) {
	b.t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", b.cmd.Process.Pid)
	waitFor(b.t, "it holds "+what, func() bool {
		entries, _ := os.ReadDir(fds) // none: it ended, and is waited for in vain
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
			to, _ := os.Readlink(filepath.Join(fds, e.Name()))
			return strings.HasSuffix(to, what) || strings.HasPrefix(to, what)
		})
	})
}

// wantNoFiles wants a directory to be empty.
func (b *begun) wantNoFiles(name string) {
	b.t.Helper()
	if left, err := os.ReadDir(filepath.Join(b.dir, name)); err != nil || len(left) > 0 {
		b.t.Errorf("left behind in %s: %v, %v", name, left, err)
	}
}

// ended waits for the command's end and returns its exit code; false: it goes on.
func (b *begun) ended(within time.Duration) (code int, ok bool) {
	select {
	case <-b.done:
		return b.cmd.ProcessState.ExitCode(), true
	case <-time.After(within):
		return 0, false
	}
}

// signal sends the command a signal.
func (b *begun) signal(s syscall.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		b.t.Fatal(err)
	}
}
