package remotetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// ShellConfig says how Shell runs commands.
type ShellConfig struct {
	Dir   string   // working directory; "" is the server's
	Env   []string // the whole environment, KEY=VALUE; nil: PATH alone, and HOME=Dir
	Shell string   // the login shell; default /bin/sh

	Start func(*exec.Cmd) error // starts the command, e.g. in namespaces of its own; default (*exec.Cmd).Start
}

// Shell is a Handler that really runs the command, as the login shell of a user does: Shell -c COMMAND. The process
// group is killed when the channel closes or the command ends.
func Shell(cfg ShellConfig) Handler {
	if cfg.Shell == "" {
		cfg.Shell = "/bin/sh"
	}
	if cfg.Start == nil {
		cfg.Start = (*exec.Cmd).Start
	}
	if cfg.Env == nil {
		cfg.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + cfg.Dir}
	}
	heedHangUp()
	return func(ctx context.Context, req *Request) int { return cfg.run(ctx, req) }
}

// heedHangUp lets commands start with SIGHUP's default action, as those of sshd do, in a process that was told to
// ignore it (nohup): what is ignored is ignored by a program's children, too, what has a handler is not.
func heedHangUp() {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
}

func (cfg ShellConfig) run(ctx context.Context, req *Request) int {
	cmd := exec.Command(cfg.Shell, "-c", req.Command)
	cmd.Dir = cfg.Dir
	cmd.Env = cfg.env(req)
	cmd.Stdout, cmd.Stderr = req.Stdout, req.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 2 * time.Second
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cfg.Start(cmd)
	}
	if err != nil {
		_, _ = fmt.Fprintln(req.Stderr, err)
		return 127
	}
	group := -cmd.Process.Pid
	defer func() { _ = syscall.Kill(group, syscall.SIGKILL) }()
	stop := context.AfterFunc(ctx, func() { hangUp(group) })
	defer stop()
	done := make(chan struct{})
	defer close(done)
	go relaySignals(group, req.Signals, done)
	go func() { // ends with the channel's stdin, at the latest when finish closes it
		_, _ = io.Copy(stdin, req.Stdin)
		_ = stdin.Close()
	}()
	return exitStatus(cmd.Wait())
}

func (cfg ShellConfig) env(req *Request) []string {
	env := cfg.Env
	for k, v := range req.Env {
		env = append(env[:len(env):len(env)], k+"="+v)
	}
	return append(env[:len(env):len(env)], "USER="+req.User, "LOGNAME="+req.User)
}

// hangUp gives the group a moment to clean up, as a session that lost its sshd has.
func hangUp(group int) {
	_ = syscall.Kill(group, syscall.SIGHUP)
	time.AfterFunc(2*time.Second, func() { _ = syscall.Kill(group, syscall.SIGKILL) })
}

func relaySignals(group int, signals <-chan string, done <-chan struct{}) {
	known := map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "QUIT": syscall.SIGQUIT,
		"TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	}
	for {
		select {
		case <-done:
			return
		case name := <-signals:
			if sig, ok := known[name]; ok {
				_ = syscall.Kill(group, sig)
			}
		}
	}
}

func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok {
			return 128 + int(ws.Signal())
		}
	}
	return 255
}
