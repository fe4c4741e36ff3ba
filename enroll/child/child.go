// Package child runs the programs that fleetctl starts for its user (tctl, hooks) so that they end when they have to,
// with everything that they started. What the programs are and what they say is not its business.
package child

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"fleetctl/remote/fault"
)

// Grace is how long a program that was told to end (SIGTERM) has until it is killed, where Options don't say.
const Grace = 5 * time.Second

// shortGrace is the same where somebody waits for the end: the context was canceled.
const shortGrace = 250 * time.Millisecond

// pipeGrace is how long what a program left behind may hold its output open. A program that ended has written
// everything; what lives on may be a master connection of ssh, which keeps standard error for as long as it lasts.
const pipeGrace = 500 * time.Millisecond

// Options of Run.
type Options struct {
	// Prompts says that the program may ask something on the terminal. It then stays in our process group, since a
	// group in the background is stopped when it reads from the terminal (termios(3), TOSTOP and SIGTTIN), and what it
	// started is ended as far as it can be found: its children, and theirs.
	Prompts bool
	Grace   time.Duration // between SIGTERM and SIGKILL when the time is over; 0: Grace
}

// Run runs a program that was made with exec.Command and waits for it. It gets a process group of its own, unless it
// may prompt. When the context ends, the group is told to end, and killed if it doesn't; the error is the context's
// cause. What is left of the group when the program ends is killed, too. Otherwise the error is that of exec.Cmd.Run,
// and nil where the program ended well and something that it started kept its output open.
func Run(ctx context.Context, cmd *exec.Cmd, opts Options) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !opts.Prompts {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	cmd.WaitDelay = pipeGrace
	if err := start(ctx, cmd); err != nil {
		return err
	}
	p := process{pid: cmd.Process.Pid, group: !opts.Prompts, ended: make(chan struct{}), watched: make(chan struct{})}
	go p.watch(ctx, opts.Grace)
	err := cmd.Wait()
	close(p.ended)
	<-p.watched
	if p.group {
		p.signal(syscall.SIGKILL) // its number is nobody else's: numbers are given out in turn, and it was free just now
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil
	}
	return err
}

// start starts a program. What this machine lacks for it (processes, descriptors, memory) is waited for.
func start(ctx context.Context, cmd *exec.Cmd) error {
	for {
		err := cmd.Start()
		if !fault.Short(err) {
			return err
		}
		*cmd = exec.Cmd{ // one that could not be started cannot be started again
			Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
			ExtraFiles: cmd.ExtraFiles, SysProcAttr: cmd.SysProcAttr, WaitDelay: cmd.WaitDelay, Err: cmd.Err,
		}
		timer := time.NewTimer(250 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// process is a program that runs.
type process struct {
	pid     int
	group   bool // it leads a group of its own
	ended   chan struct{}
	watched chan struct{} // closed when nobody will signal it any more
}

// watch ends the program when the context ends.
func (p process) watch(ctx context.Context, grace time.Duration) {
	defer close(p.watched)
	select {
	case <-p.ended:
		return
	case <-ctx.Done():
	}
	if !p.group {
		started := descendants(p.pid) // when it has ended, nobody knows any more whose they were
		defer func() {
			for _, child := range started {
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
		}()
	}
	p.signal(syscall.SIGTERM)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		grace = shortGrace
	case grace <= 0:
		grace = Grace
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.signal(syscall.SIGKILL)
	}
}

// signal sends a signal to the program, and to its group where it has one of its own.
func (p process) signal(sig syscall.Signal) {
	pid := p.pid
	if p.group {
		pid = -pid
	} else {
		for _, child := range descendants(pid) {
			_ = syscall.Kill(child, sig)
		}
	}
	_ = syscall.Kill(pid, sig) // it may have ended meanwhile
}

// descendants are the children of a process, and theirs, where /proc says so.
func descendants(pid int) []int {
	children := map[int][]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		text := string(raw)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // its name may have anything in it
		if len(fields) < 2 {
			continue
		}
		parent, err := strconv.Atoi(fields[1])
		if n, nerr := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && nerr == nil {
			children[parent] = append(children[parent], n)
		}
	}
	all := children[pid]
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// Terminal says whether something that is read from is a terminal.
func Terminal(r any) bool {
	f, ok := r.(*os.File)
	return ok && f != nil && term.IsTerminal(int(f.Fd()))
}
