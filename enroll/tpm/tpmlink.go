package tpm

import (
	"context"

	"github.com/google/go-tpm/tpm2/transport"

	"fleetctl/enroll/tpm/device"
	"fleetctl/enroll/tpm/wire"
)

// TPMLink runs the helper's reading code here, over a transport to the host's TPM. The transport stays open. When a
// context ends while a command is under way, the link waits for the command no longer; what was made in the TPM is
// flushed once it has come back, if it does.
func TPMLink(t transport.TPM) Link {
	return &tpmLink{session: device.NewSession(t, "", wire.FoundRemote)}
}

type tpmLink struct {
	session *device.Session
	pending <-chan struct{} // closed when the last thing that was asked of the session is over; nil: nothing was
}

// within runs fn, which uses the session, on a goroutine and waits for it or for ctx. One that is abandoned runs into
// its context, which is ctx, after the TPM command that it waits for.
func (l *tpmLink) within(ctx context.Context, fn func() error) error {
	if l.pending != nil {
		select {
		case <-l.pending:
		case <-ctx.Done():
			return unanswered(l.session.Open(), ctx.Err())
		}
	}
	done := make(chan struct{})
	l.pending = done
	result := make(chan error, 1)
	go func() {
		defer close(done)
		result <- fn()
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return unanswered(l.session.Open(), ctx.Err())
	}
}

func (l *tpmLink) Read(ctx context.Context, object bool) (*Raw, error) {
	got := make(chan *Raw, 1)
	err := l.within(ctx, func() error {
		raw, err := l.session.Read(ctx, wire.ReadOptions{Object: object})
		if err == nil {
			raw.Hostname = "" // this machine's
			got <- raw
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-got, nil
}

func (l *tpmLink) Derive(ctx context.Context) (wire.Derived, []wire.Timing, error) {
	got := make(chan wire.Derived, 1)
	err := l.within(ctx, func() error {
		d, err := l.session.Derive(ctx)
		got <- d
		return err
	})
	if err != nil {
		return wire.Derived{}, nil, err
	}
	return <-got, l.session.Timings(), nil
}

func (l *tpmLink) Activate(ctx context.Context, c Challenge) (wire.Answer, error) {
	got := make(chan []byte, 1)
	err := l.within(ctx, func() error {
		secret, err := l.session.Activate(ctx, c)
		got <- secret
		return err
	})
	if err != nil {
		return wire.Answer{}, err
	}
	return wire.Answer{Secret: <-got, Timings: l.session.Timings()}, nil
}

// Release flushes, now or when the command under way has come back. A transport that is broken has nobody to tell.
func (l *tpmLink) Release() {
	if l.pending == nil {
		return
	}
	select {
	case <-l.pending:
		_ = l.session.Close()
	default:
		go func() {
			<-l.pending
			_ = l.session.Close()
		}()
	}
}
