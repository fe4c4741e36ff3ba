package work

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fleetctl/inventory"
	"fleetctl/remote"
)

func TestTimeThatStandsStillIsNobodysFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := Limit(t.Context(), time.Minute)
		defer cancel()
		child, end := context.WithCancel(ctx)
		defer end()
		time.Sleep(30 * time.Second)
		resume := StandStill(child)
		again := StandStill(ctx)
		time.Sleep(time.Hour)
		again()
		time.Sleep(time.Hour)
		resume()
		resume()
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if ctx.Err() != nil || child.Err() != nil {
			t.Errorf("over too early: %v", ctx.Err())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, c := range []context.Context{ctx, child} {
			if !errors.Is(c.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(c), context.DeadlineExceeded) {
				t.Errorf("got %v, %v", c.Err(), context.Cause(c))
			}
		}
	})
}

func TestALimitEndsWithItsParent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, late := range []bool{false, true} {
			parent, cancel := context.WithCancel(t.Context())
			if late {
				cancel()
			}
			ctx, done := Limit(parent, time.Minute)
			defer done()
			cancel()
			synctest.Wait()
			<-ctx.Done()
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("got %v", ctx.Err())
			}
			StandStill(ctx)() // nothing begins anew
			time.Sleep(time.Hour)
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("got %v", ctx.Err())
			}
		}
		parent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ctx, done := Limit(parent, time.Minute)
		defer done()
		if due, ok := ctx.Deadline(); !ok || time.Until(due) != time.Second {
			t.Errorf("due %v", due)
		}
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("got %v", ctx.Err())
		}
	})
}

// short is a dialer on a machine that has no descriptors for a while.
type short struct {
	until time.Time
	tries int
}

func (s *short) Dial(context.Context, remote.Target) (*remote.Conn, error) {
	s.tries++
	if time.Now().Before(s.until) {
		return nil, &remote.Error{Kind: remote.ErrShortage, Err: errors.New("too many open files")}
	}
	return &remote.Conn{}, nil
}

// What this machine is short of is waited for, however long it takes: it is not the host that has to answer for it.
func TestALocalShortageIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &short{until: time.Now().Add(10 * time.Minute)}
		said := 0
		reach := Reach{Dialer: s, Timeout: time.Minute, Forks: 1, Short: func(error) { said++ }}
		Each(t.Context(), 1, reach.Timeout, []string{"web-01"}, func(ctx context.Context, _ int, name string) {
			conn, err := reach.Dial(ctx, inventory.Host{Name: name})
			if conn == nil || err != nil || ctx.Err() != nil {
				t.Errorf("got %v, %v", err, ctx.Err())
			}
			if due, _ := ctx.Deadline(); time.Until(due) != time.Minute {
				t.Errorf("%s are left", time.Until(due))
			}
		})
		if s.tries < 2 || said != s.tries-1 {
			t.Errorf("%d tries, said %d times", s.tries, said)
		}
		s.until = time.Now().Add(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := reach.Dial(ctx, inventory.Host{Name: "web-01"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
