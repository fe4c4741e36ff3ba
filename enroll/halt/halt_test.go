package halt

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatIsChangedOutlivesAQuestionAndNotAnOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, h := New(t.Context())
		work, done := Finish(ctx)
		h.Ask()
		if ctx.Err() == nil || work.Err() != nil {
			t.Errorf("asked: %v, %v", ctx.Err(), work.Err())
		}
		time.Sleep(time.Second)
		if h.Idle() != 0 {
			t.Error("idle while something is changed")
		}
		h.Insist()
		synctest.Wait()
		if !errors.Is(work.Err(), context.Canceled) {
			t.Errorf("insisted: %v", work.Err())
		}
		done()
		done()
		time.Sleep(time.Second)
		if h.Idle() != time.Second {
			t.Errorf("idle for %s", h.Idle())
		}
	})
}

func TestADeadlineStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, h := New(t.Context())
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		work, done := Finish(limited)
		defer done()
		h.Ask()
		time.Sleep(time.Minute)
		synctest.Wait()
		if !errors.Is(work.Err(), context.DeadlineExceeded) {
			t.Errorf("got %v", work.Err())
		}
	})
}

func TestWhatIsDoneAtTheEndHasALimitOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, h := New(t.Context())
		late, cancel := context.WithTimeout(ctx, 0)
		defer cancel()
		last, done := Outlive(late, time.Minute)
		defer done()
		h.Ask()
		time.Sleep(59 * time.Second)
		if last.Err() != nil {
			t.Errorf("it has ended: %v", last.Err())
		}
		h.Insist()
		synctest.Wait()
		if !errors.Is(last.Err(), context.Canceled) {
			t.Errorf("insisted: %v", last.Err())
		}
	})
}

func TestAContextOfSomebodyElseStaysAsItIs(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	work, done := Finish(ctx)
	defer done()
	cancel()
	if work.Err() == nil {
		t.Error("it goes on")
	}
}

func TestBeforeAnybodyAsksNothingIsIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, h := New(t.Context())
		h.Hold()()
		time.Sleep(time.Hour)
		if h.Idle() == 0 {
			return
		}
		t.Error("nobody asked")
	})
}
