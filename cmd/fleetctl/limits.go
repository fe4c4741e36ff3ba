package main

import (
	"sync"

	"golang.org/x/sys/unix"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// What descriptors are for, beside hosts: the records, tctl, known_hosts, what reads the configuration.
const reservedFiles = 64

// Descriptors that one host may need at once: its connection, a file that is sent, and what is open for a moment. A
// ProxyCommand is a process with three pipes.
const (
	filesPerHost    = 4
	filesPerCommand = 10
)

// openFiles is how many descriptors this process may have; 0: nobody knows. The soft limit is the hard one by now: Go raises
// it when a program starts, and gives children the old one.
func openFiles() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<30))
}

// hostsFor is how many hosts files descriptors are enough for, of n.
func hostsFor(n, files, each int) int {
	if files <= 0 {
		return n
	}
	return min(n, max(1, (files-reservedFiles)/each))
}

// holdForks keeps the hosts that are worked on at once to what this machine's descriptors allow, and says so.
func (a *app) holdForks(n int, commands bool) int {
	files, each := openFiles(), filesPerHost
	if commands {
		each = filesPerCommand
	}
	held := hostsFor(n, files, each)
	if held < n {
		a.say("this machine allows %d open files: %d hosts at once instead of %d (ulimit -n raises it)", files, held, n)
	}
	return held
}

// short says once that this machine lacks something while hosts are dialled.
func (a *app) short() func(error) {
	var once sync.Once
	return func(err error) {
		once.Do(func() { a.say("%s: hosts wait for it: %s", remote.Line(err.Error()), outcome.HintOf(err)) })
	}
}
