package device

import (
	"context"
	"errors"
	"time"

	"fleetctl/enroll/tpm/wire"
)

// Tags, permanent handles and algorithms (TPM 2.0 Part 2, sections 6.9, 7.4 and 6.3).
const (
	tagNoSessions = 0x8001
	tagSessions   = 0x8002

	handleOwner       = 0x40000001
	handleNull        = 0x40000007
	handlePassword    = 0x40000009
	handleEndorsement = 0x4000000B

	algRSA    = 0x0001
	algAES    = 0x0006
	algSHA256 = 0x000B
	algNull   = 0x0010
	algECDSA  = 0x0018
	algECC    = 0x0023
	algCFB    = 0x0043

	curveP256 = 0x0003
)

const (
	headerSize  = 10   // tag, size, code (TPM 2.0 Part 1, section 18)
	maxResponse = 8192 // the largest TPM2_PT_MAX_RESPONSE_SIZE seen is 4096
	retryFirst  = 5 * time.Millisecond
	retryMost   = 500 * time.Millisecond
	retryLimit  = 30 * time.Second // in all, for one command, until ErrBusy
)

// TPM takes one command and returns its response, headers included: go-tpm's transport.TPM.
type TPM interface {
	Send(command []byte) ([]byte, error)
}

// handleTracker is a TPM that is told of handles that are made and flushed, so that it can flush them itself when
// this side dies.
type handleTracker interface {
	SendCreate(command []byte) ([]byte, error) // the response carries a new handle
	SendFlush(command []byte) ([]byte, error)  // the newest handle is flushed
}

// request is one TPM command: handles, the authorizations for the first of them, parameters.
type request struct {
	code    uint32
	handles []uint32
	auths   []uint32 // session handles; handlePassword stands for an empty password
	params  []byte
}

func (r request) marshal() []byte {
	tag := uint16(tagNoSessions)
	var w writer
	for _, h := range r.handles {
		w.u32(h)
	}
	if len(r.auths) > 0 {
		tag = tagSessions
		w.u32(uint32(9 * len(r.auths)))
		for _, session := range r.auths {
			w.u32(session)
			w.u16(0) // nonce
			if session == handlePassword {
				w.u8(0)
			} else {
				w.u8(1) // TPMA_SESSION: continueSession, so that flushing it is always ours
			}
			w.u16(0) // HMAC or password
		}
	}
	w.raw(r.params)
	var head writer
	head.u16(tag)
	head.u32(uint32(headerSize + len(w)))
	head.u32(r.code)
	return append(head, w...)
}

// creates says whether the response to a command carries a new handle.
func creates(code uint32) bool {
	return code == wire.CCCreatePrimary || code == wire.CCStartAuthSession
}

// run sends a command, waits while the TPM asks for patience, and returns the new handle (0 without) and the response's
// parameters. A response code is a *wire.CommandError.
func (s *Session) run(ctx context.Context, r request) (uint32, reader, error) {
	body, err := s.roundTrip(ctx, r)
	if err != nil {
		return 0, reader{}, err
	}
	rd := reader{buf: body}
	var handle uint32
	if creates(r.code) {
		if handle = rd.u32(); !rd.bad {
			s.made = append(s.made, handle)
		}
	}
	if len(r.auths) > 0 {
		size := rd.u32()
		rd = reader{buf: rd.take(int(size)), bad: rd.bad}
	}
	if rd.bad {
		return 0, reader{}, wire.NewError(wire.ErrTPM, wire.CommandName(r.code), ": response is too short")
	}
	return handle, rd, nil
}

func (s *Session) roundTrip(ctx context.Context, r request) ([]byte, error) {
	command := r.marshal()
	begin, wait := time.Now(), retryFirst
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		sent := time.Now()
		s.open.Store(r.code)
		heard := s.watch(r.code)
		response, err := s.send(r.code, command)
		heard()
		s.open.Store(0)
		s.timings = append(s.timings, wire.Timing{Command: r.code, Took: time.Since(sent)})
		if err != nil {
			return nil, transportError(r.code, err)
		}
		body, err := parseHeader(r.code, response)
		if err == nil || !patience(err) || time.Since(begin) > retryLimit {
			return body, err
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
		wait = min(2*wait, retryMost)
	}
}

// slow is from where on it is told that a command has no answer yet. The slowest key generation of a healthy chip takes longer.
const slow = 5 * time.Second

// watch tells Slow of a command that takes its time. heard ends that.
func (s *Session) watch(code uint32) (heard func()) {
	if s.Slow == nil {
		return func() {}
	}
	t := time.AfterFunc(slow, func() { s.Slow(code) })
	return func() { t.Stop() }
}

// Open is the command that the TPM has not answered yet; 0 for none. It may be called at any time.
func (s *Session) Open() uint32 { return s.open.Load() }

func (s *Session) send(code uint32, command []byte) ([]byte, error) {
	if t, ok := s.tpm.(handleTracker); ok {
		switch {
		case creates(code):
			return t.SendCreate(command)
		case code == wire.CCFlushContext:
			return t.SendFlush(command)
		}
	}
	return s.tpm.Send(command)
}

// transportError names the command that got no answer.
func transportError(code uint32, err error) error {
	var e *wire.Error
	switch {
	case errors.As(err, &e):
		return wire.NewError(e.Kind, wire.CommandName(code), ": ", e.Detail)
	case errors.Is(err, context.Canceled):
		return err
	}
	return wire.NewError(wire.ErrTPM, wire.CommandName(code), ": ", err.Error())
}

// parseHeader checks a response's header and returns what follows it.
func parseHeader(code uint32, response []byte) ([]byte, error) {
	rd := reader{buf: response}
	tag, size, rc := rd.u16(), rd.u32(), rd.u32()
	if rd.bad || int(size) != len(response) {
		return nil, wire.NewError(wire.ErrTPM, wire.CommandName(code), ": malformed response header")
	}
	if rc != 0 {
		return nil, &wire.CommandError{Command: code, Code: rc}
	}
	if tag != tagNoSessions && tag != tagSessions {
		return nil, wire.NewError(wire.ErrTPM, wire.CommandName(code), ": unknown response tag ", wire.Hex32(uint32(tag)))
	}
	return rd.buf, nil
}

// patience says whether the same command may well succeed a moment later.
func patience(err error) bool {
	switch codeOf(err) {
	case wire.RCRetry, wire.RCYielded, wire.RCTesting, wire.RCNVRate, wire.RCNVUnavail:
		return true
	}
	return false
}

// codeOf returns the TPM's response code in err, or 0.
func codeOf(err error) uint32 {
	var command *wire.CommandError
	if errors.As(err, &command) {
		return command.Code
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writer appends what a TPM reads: big-endian integers, and byte strings with two bytes of length (TPM2B).
type writer []byte

func (w *writer) u8(v uint8)   { *w = append(*w, v) }
func (w *writer) u16(v uint16) { *w = append(*w, byte(v>>8), byte(v)) }
func (w *writer) u32(v uint32) { *w = append(*w, byte(v>>24), byte(v>>16), byte(v>>8), byte(v)) }
func (w *writer) raw(v []byte) { *w = append(*w, v...) }
func (w *writer) tpm2b(v []byte) {
	w.u16(uint16(len(v)))
	w.raw(v)
}

// reader takes apart what a TPM wrote. After the first thing that is not there it is bad and gives zeros.
type reader struct {
	buf []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.buf) {
		r.bad = true
		return nil
	}
	v := r.buf[:n]
	r.buf = r.buf[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	high := uint16(r.u8())
	return high<<8 | uint16(r.u8())
}

func (r *reader) u32() uint32 {
	high := uint32(r.u16())
	return high<<16 | uint32(r.u16())
}

func (r *reader) tpm2b() []byte { return r.take(int(r.u16())) }
