package remote

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
)

// brokenPipe is the stdin of a session on a connection that broke: x/crypto/ssh answers a write with what its reader met.
type brokenPipe struct{ err error }

func (b brokenPipe) Write([]byte) (int, error) { return 0, b.err }

func (b brokenPipe) Close() error { return b.err }

func TestAWriteToAConnectionThatBrokeSaysSo(t *testing.T) {
	t.Parallel()
	for _, err := range []error{io.ErrUnexpectedEOF, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, errors.New("ssh: disconnect, reason 2")} {
		p := &Process{conn: &Conn{addr: "10.0.0.1:22"}, ctx: t.Context(), stdin: &idleWriter{w: brokenPipe{err}, idle: newIdleTimer(0, nil)}}
		_, got := scriptStdin{p}.Write([]byte("x"))
		if !errors.Is(got, ErrDisconnected) || !strings.Contains(got.Error(), "10.0.0.1:22") {
			t.Errorf("%v is told as %v", err, got)
		}
	}
	p := &Process{conn: &Conn{}, ctx: t.Context(), stdin: &idleWriter{w: brokenPipe{nil}, idle: newIdleTimer(0, nil)}}
	if err := (scriptStdin{p}).Close(); err != nil {
		t.Error(err)
	}
	if _, err := (scriptStdin{p}).Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after our own close: %v", err)
	}
}
