package device

import (
	"context"
	"errors"
	"io"
	"sync"

	"fleetctl/enroll/tpm/wire"
)

// Serve speaks the helper's side of the protocol until in ends or ctx does; then everything that was made in the TPM is
// flushed. open is called for the first request, and so that its error reaches the controller. While the TPM works
// Serve notices the end of in at once, and stops after the TPM's current command.
func Serve(ctx context.Context, in io.Reader, out io.Writer, open func(context.Context) (*Session, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := wire.WriteFrame(out, wire.TypeHello, wire.AppendHello(nil)); err != nil {
		return err
	}
	requests := readRequests(ctx, cancel, in)
	srv := server{open: open, out: out}
	for {
		select {
		case <-ctx.Done():
			return srv.close(nil)
		case r, ok := <-requests:
			if !ok {
				return srv.close(nil)
			}
			if err := srv.answer(ctx, r); err != nil {
				return srv.close(err)
			}
		}
	}
}

type incoming struct {
	kind    wire.Type
	payload []byte
	err     error
}

// readRequests reads frames on a goroutine of its own, so that the end of the stream is noticed while a TPM command
// runs. The goroutine may stay behind in a read: the process ends right after Serve.
func readRequests(ctx context.Context, cancel context.CancelFunc, in io.Reader) <-chan incoming {
	requests := make(chan incoming)
	go func() {
		defer close(requests)
		for {
			kind, payload, err := wire.ReadFrame(in)
			if err != nil && !errors.Is(err, wire.ErrProtocol) {
				cancel()
				return
			}
			select {
			case requests <- incoming{kind, payload, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return requests
}

type server struct {
	open    func(context.Context) (*Session, error)
	out     io.Writer
	mu      sync.Mutex // of out
	session *Session
}

func (v *server) write(kind wire.Type, payload []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return wire.WriteFrame(v.out, kind, payload)
}

// slow tells of a command that has no answer yet. Where nobody hears it, the end of the stream says so.
func (v *server) slow(code uint32) { _ = v.write(wire.TypeOpen, wire.AppendOpen(nil, code)) }

// answer answers one request. It returns an error only when the conversation is over.
func (v *server) answer(ctx context.Context, r incoming) error {
	kind, payload, err := v.do(ctx, r)
	if ctx.Err() != nil {
		return nil // nobody is there to hear it
	}
	if err != nil {
		kind, payload = wire.TypeError, wire.AppendError(nil, err)
	}
	if werr := v.write(kind, payload); werr != nil {
		return werr
	}
	if errors.Is(err, wire.ErrProtocol) {
		return err
	}
	return nil
}

func (v *server) do(ctx context.Context, r incoming) (wire.Type, []byte, error) {
	if r.err != nil {
		return 0, nil, r.err
	}
	if v.session == nil {
		var err error
		if v.session, err = v.open(ctx); err != nil {
			return 0, nil, err
		}
		v.session.Slow = v.slow
	}
	switch r.kind {
	case wire.TypeRead:
		return v.read(ctx, r.payload)
	case wire.TypeDerive:
		return v.derive(ctx, r.payload)
	case wire.TypeActivate:
		return v.activate(ctx, r.payload)
	}
	return 0, nil, wire.NewError(wire.ErrProtocol, "unknown request ", wire.Hex32(uint32(r.kind)))
}

func (v *server) read(ctx context.Context, payload []byte) (wire.Type, []byte, error) {
	o, err := wire.ParseRead(payload)
	if err != nil {
		return 0, nil, err
	}
	raw, err := v.session.Read(ctx, o)
	if err != nil {
		return 0, nil, err
	}
	return wire.TypeRaw, wire.AppendRaw(nil, raw), nil
}

func (v *server) derive(ctx context.Context, payload []byte) (wire.Type, []byte, error) {
	if len(payload) != 0 {
		return 0, nil, wire.NewError(wire.ErrProtocol, "malformed derive request")
	}
	d, err := v.session.Derive(ctx)
	if err != nil {
		return 0, nil, err
	}
	return wire.TypeDerived, wire.AppendDerived(nil, d, v.session.Timings()), nil
}

func (v *server) activate(ctx context.Context, payload []byte) (wire.Type, []byte, error) {
	c, err := wire.ParseChallenge(payload)
	if err != nil {
		return 0, nil, err
	}
	secret, err := v.session.Activate(ctx, c)
	if err != nil {
		return 0, nil, err
	}
	return wire.TypeAnswer, wire.AppendAnswer(nil, wire.Answer{Secret: secret, Timings: v.session.Timings()}), nil
}

func (v *server) close(err error) error {
	if v.session == nil {
		return err
	}
	return errors.Join(err, v.session.Close())
}
