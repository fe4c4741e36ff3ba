package host

import (
	"context"
	"errors"
	"testing"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

func TestAProblemMeansThatNothingIsDone(t *testing.T) {
	conn := &refusingConn{}
	_, err := Apply(t.Context(), conn, Steps{
		{Name: "a", actions: []action{{script: "true"}}}, {Name: "b", problem: &outcome.Reason{Code: "x", Message: "no"}},
	}, ApplyOptions{})
	if p := (*outcome.Error)(nil); !errors.As(err, &p) || conn.calls != 0 {
		t.Errorf("got %v after %d calls", err, conn.calls)
	}
}

// refusingConn is a connection on which nothing that isn't scripted succeeds.
type refusingConn struct{ calls int }

func (c *refusingConn) Run(context.Context, remote.Cmd) (remote.Output, error) {
	c.calls++
	return remote.Output{}, errors.New("not scripted")
}

func (c *refusingConn) WriteFile(context.Context, remote.File, bool) error {
	c.calls++
	return errors.New("not scripted")
}

func (c *refusingConn) Close() error { return nil }
