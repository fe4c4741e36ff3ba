package tpm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"fleetctl/enroll/tpm/wire"
)

// Link is the controller's end of one host's TPM: through the helper, or command by command. It serves one Examine.
type Link interface {
	// Read reads the facts; with object it also makes the object that a proof activates.
	Read(ctx context.Context, object bool) (*Raw, error)
	// Derive makes the EK of the default template, which may take a chip 17 s, and keeps it for Activate.
	Derive(ctx context.Context) (wire.Derived, []wire.Timing, error)
	// Activate runs TPM2_ActivateCredential and returns the secret that came out.
	Activate(ctx context.Context, c Challenge) (wire.Answer, error)
	// Release flushes what was made in the TPM, as far as the link still works.
	Release()
}

// HelperLink talks to cmd/identify over its stdin and stdout. The helper flushes what it made when its stdin is closed,
// which is for the caller to do. Closing stdout ends a goroutine that reads it.
func HelperLink(stdin io.Writer, stdout io.Reader) Link {
	return &helperLink{in: stdin, out: stdout, frames: make(chan frame), done: make(chan struct{})}
}

type helperLink struct {
	in      io.Writer
	out     io.Reader
	frames  chan frame
	done    chan struct{} // closed by Release
	started bool
	open    uint32 // a command that the TPM had not answered when the helper last spoke; 0: none
}

type frame struct {
	kind    wire.Type
	payload []byte
	err     error
}

// listen reads frames until the stream ends or fails, or nobody wants them any more.
func (l *helperLink) listen() {
	for {
		kind, payload, err := wire.ReadFrame(l.out)
		select {
		case l.frames <- frame{kind, payload, err}:
		case <-l.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// next waits for the next frame, or until ctx ends: then the error names the command that the TPM leaves open.
func (l *helperLink) next(ctx context.Context) (wire.Type, []byte, error) {
	for {
		select {
		case f := <-l.frames:
			switch {
			case errors.Is(f.err, io.EOF):
				f.err = wire.NewError(wire.ErrProtocol, "the helper ended without an answer")
			case f.err == nil && f.kind == wire.TypeOpen:
				if l.open, f.err = wire.ParseOpen(f.payload); f.err == nil {
					continue
				}
			}
			l.open = 0
			return f.kind, f.payload, f.err
		case <-ctx.Done():
			return 0, nil, unanswered(l.open, ctx.Err())
		}
	}
}

// unanswered names the command that a TPM has not answered when nobody waits any more; 0 for none.
func unanswered(code uint32, err error) error {
	if code == 0 {
		return err
	}
	return fmt.Errorf("the TPM has not answered %s: %w", wire.CommandName(code), err)
}

// ask sends a request and returns the payload of the answer, which is of type want.
func (l *helperLink) ask(ctx context.Context, request wire.Type, payload []byte, want wire.Type) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	if err := l.send(ctx, request, payload); err != nil {
		return nil, err
	}
	kind, answer, err := l.next(ctx)
	switch {
	case err != nil:
		return nil, err
	case kind == wire.TypeError:
		return nil, wire.ParseError(answer)
	case kind != want:
		return nil, wire.NewError(wire.ErrProtocol, "unexpected frame ", wire.Hex32(uint32(kind)))
	}
	return answer, nil
}

// start reads the helper's greeting before the first request.
func (l *helperLink) start(ctx context.Context) error {
	if l.started {
		return nil
	}
	l.started = true
	go l.listen()
	kind, payload, err := l.next(ctx)
	if err != nil {
		return err
	}
	if kind != wire.TypeHello {
		return wire.NewError(wire.ErrProtocol, "the other side is not the helper")
	}
	return wire.ParseHello(payload)
}

// send writes a request; a host that does not read must not hold the caller beyond ctx.
func (l *helperLink) send(ctx context.Context, request wire.Type, payload []byte) error {
	sent := make(chan error, 1)
	go func() { sent <- wire.WriteFrame(l.in, request, payload) }()
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *helperLink) Read(ctx context.Context, object bool) (*Raw, error) {
	request := wire.AppendRead(nil, wire.ReadOptions{Object: object})
	answer, err := l.ask(ctx, wire.TypeRead, request, wire.TypeRaw)
	if err != nil {
		return nil, err
	}
	return wire.ParseRaw(answer)
}

func (l *helperLink) Derive(ctx context.Context) (wire.Derived, []wire.Timing, error) {
	answer, err := l.ask(ctx, wire.TypeDerive, nil, wire.TypeDerived)
	if err != nil {
		return wire.Derived{}, nil, err
	}
	return wire.ParseDerived(answer)
}

func (l *helperLink) Activate(ctx context.Context, c Challenge) (wire.Answer, error) {
	answer, err := l.ask(ctx, wire.TypeActivate, wire.AppendChallenge(nil, c), wire.TypeAnswer)
	if err != nil {
		return wire.Answer{}, err
	}
	return wire.ParseAnswer(answer)
}

func (l *helperLink) Release() {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
}

// deadLink is the link to a TPM that is not there any more.
type deadLink struct{}

func (deadLink) Read(context.Context, bool) (*Raw, error) { return nil, errDeadLink() }

func (deadLink) Derive(context.Context) (wire.Derived, []wire.Timing, error) {
	return wire.Derived{}, nil, errDeadLink()
}

func (deadLink) Activate(context.Context, Challenge) (wire.Answer, error) {
	return wire.Answer{}, errDeadLink()
}

func (deadLink) Release() {}

func errDeadLink() error {
	return wire.NewError(wire.ErrTPM, "these facts hold neither a readable certificate nor a derived EK")
}
