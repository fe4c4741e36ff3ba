package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// interrupts counts what Ctrl-C (or SIGTERM) asked for. The first one ends the run, or, for a command that called
// drain, only keeps it from starting new hosts; the second one ends it; the third one ends the process on the spot.
type interrupts struct {
	first  chan struct{} // closed by the first signal
	drains atomic.Bool
}

// drain makes the first signal a polite one. The channel is closed when it comes: begin no new hosts then.
func (i *interrupts) drain() <-chan struct{} {
	i.drains.Store(true)
	return i.first
}

// watchSignals returns a context that ends as interrupts says, and a function that stops the watching.
func watchSignals(parent context.Context) (context.Context, *interrupts, func()) {
	ctx, cancel := context.WithCancel(parent)
	in := &interrupts{first: make(chan struct{})}
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-ctx.Done():
				if n == 1 {
					return
				}
				<-signals
			case <-signals:
			}
			in.count(n, cancel)
		}
	}()
	return ctx, in, func() { signal.Stop(signals); cancel() }
}

// count acts on the n-th signal.
func (i *interrupts) count(n int, cancel func()) {
	switch {
	case n == 1:
		close(i.first)
		if !i.drains.Load() {
			cancel()
		}
	case n == 2 && i.drains.Load():
		cancel()
	default:
		os.Exit(exitInterrupted)
	}
}
