package remote

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// forgetful is the connection of x/crypto/ssh that a channel was asked of just as it ended: it answers no more.
type forgetful struct {
	ssh.Conn

	over, never chan struct{}
}

func (f *forgetful) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	<-f.never
	return nil, nil, errors.New("forgotten")
}

func (f *forgetful) Wait() error {
	<-f.over
	return nil
}

func (f *forgetful) Close() error {
	close(f.over)
	return nil
}

func (*forgetful) SendRequest(string, bool, []byte) (bool, []byte, error) {
	return false, nil, errors.New("over")
}

func TestASessionThatIsForgottenEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	f := &forgetful{over: make(chan struct{}), never: make(chan struct{})}
	t.Cleanup(func() { close(f.never) })
	client := ssh.NewClient(f, nil, nil)
	d := &Dialer{}
	c := newConn(d, Target{}, &settings{}, &link{client: client, end: func() {}})
	time.AfterFunc(10*time.Millisecond, func() { _ = c.client.Close() })
	_, err := c.newSession(context.Background()) // without an end of its own: a hang fails the test
	var own *Error
	if !errors.As(err, &own) || !errors.Is(err, ErrDisconnected) || !errors.Is(err, errNoSession) {
		t.Errorf("%v", err)
	}
}
