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
