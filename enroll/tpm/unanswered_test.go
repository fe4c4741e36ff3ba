package tpm_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"fleetctl/enroll/tpm"
	"fleetctl/enroll/tpm/device"
	"fleetctl/enroll/tpm/wire"
)

// hanging is a TPM that answers nothing: it says what it was asked first, and waits.
type hanging struct {
	asked chan<- struct{}
	until <-chan struct{}
}

func (h hanging) Send([]byte) ([]byte, error) {
	select {
	case h.asked <- struct{}{}:
	default:
	}
	<-h.until
	return nil, io.ErrClosedPipe
}

// TestATPMThatHangsIsNamedByItsOpenCommand has nobody wait any more while a command has no answer, for each kind of link.
func TestATPMThatHangsIsNamedByItsOpenCommand(t *testing.T) {
	for name, link := range map[string]func(hanging) tpm.Link{
		"here":             func(h hanging) tpm.Link { return tpm.TPMLink(h) },
		"through a helper": func(h hanging) tpm.Link { return served(t, h) },
	} {
		t.Run(name, func(t *testing.T) {
			asked, until := make(chan struct{}, 1), make(chan struct{})
			defer close(until)
			ctx, cancel := context.WithCancel(t.Context())
			l := link(hanging{asked, until})
			defer l.Release()
			go func() { <-asked; cancel() }()
			_, err := l.Read(ctx, true)
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "has not answered TPM2_GetCapability") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// served is a helper whose session tells of a command at once.
func served(t *testing.T, h hanging) tpm.Link {
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	t.Cleanup(func() { _ = stdin.Close(); _ = stdout.Close() })
	go func() {
		_ = device.Serve(context.Background(), in, out, func(context.Context) (*device.Session, error) {
			told := &teller{hanging: h}
			told.session = device.NewSession(told, "/dev/tpmrm0", wire.FoundDev)
			return told.session, nil
		})
	}()
	return tpm.HelperLink(stdin, stdout)
}

// teller is what Slow does after a while, without the while.
type teller struct {
	hanging
	session *device.Session
}

func (t *teller) Send(command []byte) ([]byte, error) {
	t.session.Slow(t.session.Open())
	t.session.Slow(t.session.Open()) // once this one is read, the first one has arrived
	return t.hanging.Send(command)
}

func TestABrokenTransportNamesTheCommand(t *testing.T) {
	_, err := device.NewSession(busy{}, "", "").Read(t.Context(), wire.ReadOptions{})
	if !errors.Is(err, wire.ErrBusy) || !strings.Contains(err.Error(), "TPM2_GetCapability: no answer within") {
		t.Errorf("got %v", err)
	}
}

type busy struct{}

func (busy) Send([]byte) ([]byte, error) {
	return nil, wire.NewError(wire.ErrBusy, "no answer within 3m0s")
}
