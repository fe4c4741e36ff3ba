//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What fleetsim calls itself as a child: its own program under another name.
const (
	keeperName = "fleetsim-keeper"
	hostsName  = "fleetsim-hosts"
)

// listenerFD is where the keeper and the hosts find the SSH listener.
const listenerFD = 3

// keep is the fleet's process 1: it starts the hosts and reaps what they orphan. When it ends, the kernel ends every
// process of its namespace. Without a namespace it adopts orphans all the same and ends them itself.
func keep() int {
	if err := adoptOrphans(); err != nil {
		return keeperFailed(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	runtime.LockOSThread()                        // PR_SET_PDEATHSIG fires when the thread that started the child ends
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP) // the controller says when to stop
	hosts := exec.Command("/proc/self/exe")
	hosts.Args = []string{hostsName}
	hosts.Stdin, hosts.Stdout, hosts.Stderr = os.Stdin, os.Stdout, os.Stderr
	hosts.ExtraFiles = []*os.File{os.NewFile(listenerFD, "listener")}
	hosts.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := hosts.Start(); err != nil {
		return keeperFailed(err)
	}
	pid := hosts.Process.Pid
	go func() {
		<-stop
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}()
	status := reap(pid)
	endOrphans()
	return status
}

func keeperFailed(err error) int {
	fmt.Fprintf(os.Stderr, "fleetsim: keeper: %v\n", err)
	return 1
}

// adoptOrphans makes this process the parent of those of its descendants that lose theirs.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	return nil
}

// endOrphans ends all children, and theirs, who become ours.
func endOrphans() {
	for endChildren() {
		_, _ = syscall.Wait4(-1, nil, 0, nil) // one at a time: each may leave us further ones
	}
}

// reap waits for children until pid has ended, and returns its exit status.
func reap(pid int) int {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1
		case got == pid:
			return ws.ExitStatus()
		}
	}
}

// endChildren kills the children that are there and reports whether there were any.
func endChildren() bool {
	found := false
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		found = syscall.Kill(pid, syscall.SIGKILL) == nil || found
	}
	return found
}
