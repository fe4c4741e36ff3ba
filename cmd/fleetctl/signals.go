package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fleetctl/enroll/halt"
)

// patience is how long whatever changes nothing may take to end once somebody asks for it, and whatever does once somebody
// insists. What doesn't end by itself by then (a read that nobody can interrupt) ends with the process.
const patience = 900 * time.Millisecond

// interrupts counts what Ctrl-C (or SIGTERM) asked for. The first one ends the run: what changes nothing at once, what is
// being changed when it has come to its end, or when its time is over. The second one ends that, too; the records say where
// it was. The third one ends the process on the spot. SIGHUP asks as the first one does, and never insists: a terminal that
// is closed sends several.
type interrupts struct {
	halt     *halt.Halt
	say      func(format string, args ...any)
	stopping func() string // what the first one comes to
	exit     func()        // ends the process, with the last words of one that was interrupted
	n        int
}

// watchSignals returns a context that ends as interrupts says, and a function that stops the watching.
func (a *app) watchSignals(parent context.Context) (context.Context, func()) {
	ctx, h := halt.New(parent)
	a.halt = h
	in := &interrupts{halt: h, say: a.sayBetween, stopping: a.stopping, exit: func() {
		a.interrupted()
		os.Exit(exitInterrupted)
	}}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				in.hear(s)
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); close(done) }
}

// sayBetween is say while something else is on the screen: a bar, a question.
func (a *app) sayBetween(format string, args ...any) {
	if a.terminal && (a.line == nil || !a.line.Shown()) {
		format = "\nfleetctl: " + format + "\n"
		fmt.Fprintf(a.stderr, format, args...)
		return
	}
	a.say(format, args...)
}

// stopping says what becomes of a run that somebody stops.
func (a *app) stopping() string {
	if k := a.watching.Load(); k != nil {
		if text := k.stopping(a.halt.Open()); text != "" {
			return text
		}
	}
	return "stopping: nothing new begins; what is being changed comes to its end, or ends at once with the next one"
}

// hear acts on a signal.
func (i *interrupts) hear(s os.Signal) {
	if s == syscall.SIGHUP && i.n > 0 {
		return
	}
	i.n++
	switch i.n {
	case 1:
		i.say("%s", i.stopping())
		i.halt.Ask()
		go i.endIdle()
	case 2:
		i.say("interrupted again: what is being changed ends where it is")
		i.halt.Insist()
		time.AfterFunc(patience, i.exit)
	default:
		i.exit()
	}
}

// endIdle ends the process when nothing is changed any more, and it has not ended by itself.
func (i *interrupts) endIdle() {
	for i.halt.Idle() < patience {
		time.Sleep(10 * time.Millisecond)
	}
	i.exit()
}
