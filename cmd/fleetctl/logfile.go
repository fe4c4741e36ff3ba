package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/work"
	"fleetctl/remote"
)

// logFile is the enroll.Watcher that writes a log for programs (--log-file) beside another one: a JSON object a line, with time,
// level, msg, and run, host and code where there are any. What hosts say is escaped: people read logs on terminals.
type logFile struct {
	enroll.Watcher
	file *os.File
	base *slog.Logger // without a run
	log  *slog.Logger // of the run that is under way
	err  error        // the first line that could not be written
}

// logged adds the log of --log-file to a watcher, where there is one.
func (a *app) logged(c *cli.Context, beside enroll.Watcher) (enroll.Watcher, error) {
	name := c.String("log-file")
	if name == "" {
		return beside, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return beside, inputError(fmt.Errorf("--log-file: %w", err))
	}
	a.log = &logFile{Watcher: beside, file: f}
	a.log.base = slog.New(slog.NewJSONHandler(a.log, nil)).With("command", c.Command.Name)
	a.log.log = a.log.base
	return a.log, nil
}

// Write appends a line. slog drops the errors of its writer; the first one is kept.
func (l *logFile) Write(line []byte) (int, error) {
	n, err := l.file.Write(line)
	if l.err == nil {
		l.err = err
	}
	return n, err
}

// Run notes which run of the records all that follows belongs to.
func (l *logFile) Run(id int64) {
	l.Watcher.Run(id)
	l.log = l.base.With("run", id)
	l.log.Info("run began")
}

// Begin notes that a stage begins.
func (l *logFile) Begin(stage enroll.Stage, hosts int) {
	l.Watcher.Begin(stage, hosts)
	l.log.Info("stage began", "stage", stage, "hosts", hosts)
}

// Host notes how a run ended for a host, and what it warns of.
func (l *logFile) Host(r outcome.Result) {
	l.Watcher.Host(r)
	l.result(r)
	for _, w := range r.Warnings {
		l.warning(r.Host, w.Reason)
	}
}

// Note notes what else happened.
func (l *logFile) Note(n enroll.Note) {
	l.Watcher.Note(n)
	switch n := n.(type) {
	case enroll.HostRefused:
		l.result(n.Result)
	case enroll.HostWarned:
		l.warning(n.Host, n.Reason)
	default:
		if text := noteText(n); text != "" {
			l.log.Info(remote.Escape(text))
		}
	}
}

// Pace notes how far a rollout is.
func (l *logFile) Pace(p work.Pace) {
	l.Watcher.Pace(p)
	if text := paceText(p); text != "" {
		l.log.Info(text)
	}
}

func (l *logFile) result(r outcome.Result) {
	level := slog.LevelInfo
	if r.Bad() {
		level = slog.LevelError
	}
	message := r.Message
	if message == "" {
		message = string(r.Outcome)
	}
	l.log.Log(context.Background(), level, remote.Escape(message),
		"host", remote.Escape(r.Host), "outcome", r.Outcome, "code", r.Code, "took_ms", r.Took.Milliseconds())
}

func (l *logFile) warning(host string, r outcome.Reason) {
	l.log.Warn(remote.Escape(r.Message), "host", remote.Escape(host), "code", r.Code)
}

// ended notes how the command ended, and ends the log. A log that is cut is an error: whoever reads it must not take it for whole.
func (l *logFile) ended(code int, err error) error {
	level, why := slog.LevelInfo, ""
	if err != nil {
		level, why = slog.LevelError, remote.Escape(err.Error())
	}
	if code == exitChanges { // what was asked for
		level = slog.LevelInfo
	}
	l.log.Log(context.Background(), level, "command ended", "exit_code", code, "error", why)
	return errors.Join(l.err, l.file.Close())
}

// endLog ends the log, where there is one, and returns the exit code of the command.
func (a *app) endLog(code int, err error) int {
	if a.log == nil {
		return code
	}
	if err := a.log.ended(code, err); err != nil {
		a.say("error: the log is not whole: %v", err)
		if code == exitOK {
			return exitError
		}
	}
	return code
}
