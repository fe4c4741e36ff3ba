package remote

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheLimitStandsStillWhileDialWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := WithLimit(t.Context(), 10*time.Second)
		defer cancel()
		child, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		time.Sleep(4 * time.Second)
		first, second := StandStill(child), StandStill(child)
		time.Sleep(time.Minute)
		first()
		time.Sleep(time.Minute)
		if ctx.Err() != nil {
			t.Fatal("the limit passed while it stood still")
		}
		if d, ok := child.Deadline(); !ok || !d.After(start) {
			t.Errorf("deadline %v", d)
		}
		second()
		<-child.Done()
		if took := time.Since(start); took != 2*time.Minute+10*time.Second {
			t.Errorf("it ended after %s", took)
		}
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Errorf("it ended with %v and %v", ctx.Err(), child.Err())
		}
		StandStill(child)() // nothing to stop
	})
}

func TestALimitEndsWithItsParentEvenWhileItStandsStill(t *testing.T) {
	t.Parallel()
	parent, end := context.WithCancel(t.Context())
	ctx, cancel := WithLimit(parent, time.Hour)
	defer cancel()
	defer StandStill(ctx)()
	end()
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error(ctx.Err())
	}
	own, cancelOwn := WithLimit(t.Context(), time.Hour)
	cancelOwn()
	if !errors.Is(own.Err(), context.Canceled) {
		t.Error(own.Err())
	}
	heard := make(chan struct{})
	context.AfterFunc(own, func() { close(heard) })
	<-heard
}
