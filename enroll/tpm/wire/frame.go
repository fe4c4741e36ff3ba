package wire

import (
	"errors"
	"io"
	"time"
)

// The protocol: the helper starts with a Hello; then the controller asks and the helper answers, one at a time, until
// the controller closes the helper's stdin. A frame is one byte of type, four bytes of big-endian length and the
// payload. Payloads are integers (big-endian) and byte strings (4 bytes of length before them) in a fixed order; a
// payload that is too short or too long is an error. Version changes with any change of a payload.
const (
	Version  = 2
	MaxFrame = 64 << 10 // bytes of payload; the largest real one, a Raw, is about 6 KB

	magic      = "fleetctl-identify"
	maxString  = 4096
	maxData    = 16 << 10 // an NV index; the largest EK certificates are below 3 KB
	maxEntries = 1024
)

// Type of a frame.
type Type uint8

// The frames: what the helper says, and what the controller asks.
const (
	TypeHello   Type = 1
	TypeRaw     Type = 2
	TypeDerived Type = 3
	TypeAnswer  Type = 4
	TypeError   Type = 5
	TypeOpen    Type = 6 // at any time: a command that the TPM has not answered yet

	TypeRead     Type = 16
	TypeDerive   Type = 17
	TypeActivate Type = 18
)

// WriteFrame writes one frame in one Write.
func WriteFrame(w io.Writer, t Type, payload []byte) error {
	if len(payload) > MaxFrame {
		return NewError(ErrProtocol, "frame is too long to send")
	}
	e := encoder{buf: make([]byte, 0, 5+len(payload))}
	e.u8(uint8(t))
	e.u32(uint32(len(payload)))
	_, err := w.Write(append(e.buf, payload...))
	return err
}

// ReadFrame reads one frame. At the end of the stream, between two frames, the error is io.EOF.
func ReadFrame(r io.Reader) (Type, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return 0, nil, err
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return 0, nil, truncated(err)
	}
	d := decoder{buf: head[1:]}
	size := d.u32()
	if size > MaxFrame {
		return 0, nil, NewError(ErrProtocol, "frame of ", Hex32(size), " bytes is too long")
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, truncated(err)
	}
	return Type(head[0]), payload, nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return NewError(ErrProtocol, "stream ends within a frame")
	}
	return err
}

// AppendHello encodes the first frame's payload.
func AppendHello(b []byte) []byte {
	e := encoder{buf: b}
	e.str(magic)
	e.u32(Version)
	return e.buf
}

// ParseHello checks that the other side speaks this protocol in this version.
func ParseHello(b []byte) error {
	d := decoder{buf: b}
	name, version := d.str(maxString), d.u32()
	if d.bad || name != magic {
		return NewError(ErrProtocol, "the other side is not the helper")
	}
	if version != Version {
		return NewError(ErrProtocol, "helper speaks version ", Hex32(version), ", this is ", Hex32(Version))
	}
	return d.end("hello")
}

// AppendOpen encodes the code of a command that has no answer yet.
func AppendOpen(b []byte, code uint32) []byte {
	e := encoder{buf: b}
	e.u32(code)
	return e.buf
}

// ParseOpen is the inverse of AppendOpen.
func ParseOpen(b []byte) (uint32, error) {
	d := decoder{buf: b}
	code := d.u32()
	return code, d.end("open command")
}

// ReadOptions say what Read is to do beyond reading.
type ReadOptions struct {
	Object bool // make the object that a proof activates
}

// AppendRead encodes a request to read the TPM.
func AppendRead(b []byte, o ReadOptions) []byte {
	e := encoder{buf: b}
	e.bool(o.Object)
	return e.buf
}

// ParseRead is the inverse of AppendRead.
func ParseRead(b []byte) (ReadOptions, error) {
	d := decoder{buf: b}
	o := ReadOptions{Object: d.bool()}
	return o, d.end("read request")
}

// AppendRaw encodes a Raw.
func AppendRaw(b []byte, r *Raw) []byte {
	e := encoder{buf: b}
	e.str(r.Device)
	e.str(r.Found)
	e.str(r.Hostname)
	e.u32(uint32(len(r.Properties)))
	for _, p := range r.Properties {
		e.u32(p.Tag)
		e.u32(p.Value)
	}
	e.u32s(r.NVIndices)
	e.u32s(r.Persistent)
	e.area(r.EKCert)
	e.key(r.EK)
	e.key(r.SRK)
	e.derived(r.Derived)
	e.key(r.Object)
	e.timings(r.Timings)
	return e.buf
}

// ParseRaw is the inverse of AppendRaw.
func ParseRaw(b []byte) (*Raw, error) {
	d := decoder{buf: b}
	r := &Raw{Device: d.str(maxString), Found: d.str(maxString), Hostname: d.str(maxString)}
	for range d.count(8) {
		r.Properties = append(r.Properties, Property{Tag: d.u32(), Value: d.u32()})
	}
	r.NVIndices = d.u32s()
	r.Persistent = d.u32s()
	r.EKCert = d.area()
	r.EK = d.key()
	r.SRK = d.key()
	r.Derived = d.derived()
	r.Object = d.key()
	r.Timings = d.timings()
	if err := d.end("facts"); err != nil {
		return nil, err
	}
	return r, nil
}

// AppendDerived encodes a Derived and what its commands took.
func AppendDerived(b []byte, v Derived, t []Timing) []byte {
	e := encoder{buf: b}
	e.derived(v)
	e.timings(t)
	return e.buf
}

// ParseDerived is the inverse of AppendDerived.
func ParseDerived(b []byte) (Derived, []Timing, error) {
	d := decoder{buf: b}
	v, t := d.derived(), d.timings()
	return v, t, d.end("derived key")
}

// AppendChallenge encodes a Challenge.
func AppendChallenge(b []byte, c Challenge) []byte {
	e := encoder{buf: b}
	e.u8(c.Key)
	e.bytes(c.ObjectID)
	e.bytes(c.Encrypted)
	return e.buf
}

// ParseChallenge is the inverse of AppendChallenge.
func ParseChallenge(b []byte) (Challenge, error) {
	d := decoder{buf: b}
	c := Challenge{Key: d.u8(), ObjectID: d.bytes(maxString), Encrypted: d.bytes(maxString)}
	return c, d.end("challenge")
}

// AppendAnswer encodes an Answer.
func AppendAnswer(b []byte, a Answer) []byte {
	e := encoder{buf: b}
	e.bytes(a.Secret)
	e.timings(a.Timings)
	return e.buf
}

// ParseAnswer is the inverse of AppendAnswer.
func ParseAnswer(b []byte) (Answer, error) {
	d := decoder{buf: b}
	a := Answer{Secret: d.bytes(maxString), Timings: d.timings()}
	return a, d.end("answer")
}

// Kinds of errors on the wire, in this order from 1; 0 is a CommandError.
func kinds() []error {
	return []error{ErrNoTPM, ErrTPM12, ErrPermission, ErrBusy, ErrLockout, ErrTPM, ErrProtocol}
}

// AppendError encodes an error, so that errors.Is and errors.As see the same on the other side.
func AppendError(b []byte, err error) []byte {
	e := encoder{buf: b}
	var command *CommandError
	if errors.As(err, &command) {
		e.u8(0)
		e.u32(command.Command)
		e.u32(command.Code)
		return e.buf
	}
	e.u8(kindOf(err))
	var detailed *Error
	detail := err.Error()
	if errors.As(err, &detailed) {
		detail = detailed.Detail
	}
	e.str(Printable(detail, MaxDetail))
	return e.buf
}

func kindOf(err error) uint8 {
	for i, k := range kinds() {
		if errors.Is(err, k) {
			return uint8(i + 1)
		}
	}
	return 6 // ErrTPM
}

// ParseError is the inverse of AppendError. What cannot be parsed is an error as well.
func ParseError(b []byte) error {
	d := decoder{buf: b}
	kind := int(d.u8())
	if kind == 0 {
		e := &CommandError{Command: d.u32(), Code: d.u32()}
		if err := d.end("error"); err != nil {
			return err
		}
		return e
	}
	detail := d.str(MaxDetail)
	if err := d.end("error"); err != nil {
		return err
	}
	all := kinds()
	if kind > len(all) {
		return NewError(ErrProtocol, "unknown kind of error")
	}
	return &Error{Kind: all[kind-1], Detail: Printable(detail, MaxDetail)}
}

type encoder struct{ buf []byte }

func (e *encoder) u8(v uint8) { e.buf = append(e.buf, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.u8(1)
		return
	}
	e.u8(0)
}

func (e *encoder) u32(v uint32) { e.buf = append(e.buf, byte(v>>24), byte(v>>16), byte(v>>8), byte(v)) }

func (e *encoder) u64(v uint64) {
	e.u32(uint32(v >> 32))
	e.u32(uint32(v))
}

func (e *encoder) bytes(v []byte) {
	e.u32(uint32(len(v)))
	e.buf = append(e.buf, v...)
}

func (e *encoder) str(v string) {
	e.u32(uint32(len(v)))
	e.buf = append(e.buf, v...)
}

func (e *encoder) u32s(v []uint32) {
	e.u32(uint32(len(v)))
	for _, x := range v {
		e.u32(x)
	}
}

func (e *encoder) area(a Area) {
	e.u32(a.Code)
	e.bool(a.Defined)
	e.u32(a.Attributes)
	e.bytes(a.Data)
}

func (e *encoder) key(k Key) {
	e.u32(k.Code)
	e.bytes(k.Public)
	e.bytes(k.Name)
}

func (e *encoder) derived(v Derived) {
	e.area(v.Nonce)
	e.key(v.Key)
}

func (e *encoder) timings(ts []Timing) {
	e.u32(uint32(len(ts)))
	for _, t := range ts {
		e.u32(t.Command)
		e.u64(uint64(t.Took.Microseconds()))
	}
}

// decoder reads a payload. After the first thing that does not fit it gives zero values, and end reports it.
type decoder struct {
	buf []byte
	bad bool
}

func (d *decoder) end(what string) error {
	if d.bad || len(d.buf) != 0 {
		return NewError(ErrProtocol, "malformed ", what)
	}
	return nil
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.buf) {
		d.bad = true
		return nil
	}
	v := d.buf[:n]
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	v := d.u8()
	if v > 1 {
		d.bad = true
	}
	return v == 1
}

func (d *decoder) u32() uint32 {
	v := d.take(4)
	if v == nil {
		return 0
	}
	return uint32(v[0])<<24 | uint32(v[1])<<16 | uint32(v[2])<<8 | uint32(v[3])
}

func (d *decoder) u64() uint64 {
	high := uint64(d.u32())
	return high<<32 | uint64(d.u32())
}

// bytes returns a copy, nil when empty.
func (d *decoder) bytes(limit uint32) []byte {
	n := d.u32()
	if n > limit {
		d.bad = true
		return nil
	}
	return append([]byte(nil), d.take(int(n))...)
}

func (d *decoder) str(limit uint32) string { return string(d.bytes(limit)) }

// count reads how many entries of at least size bytes follow.
func (d *decoder) count(size int) int {
	n := d.u32()
	if n > maxEntries || int(n)*size > len(d.buf) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) u32s() []uint32 {
	var out []uint32
	for range d.count(4) {
		out = append(out, d.u32())
	}
	return out
}

func (d *decoder) area() Area {
	return Area{Code: d.u32(), Defined: d.bool(), Attributes: d.u32(), Data: d.bytes(maxData)}
}

func (d *decoder) key() Key {
	return Key{Code: d.u32(), Public: d.bytes(maxString), Name: d.bytes(maxString)}
}

func (d *decoder) derived() Derived { return Derived{Nonce: d.area(), Key: d.key()} }

func (d *decoder) timings() []Timing {
	var out []Timing
	for range d.count(12) {
		command, micros := d.u32(), d.u64()
		if micros > uint64(24*time.Hour/time.Microsecond) {
			d.bad = true
		}
		out = append(out, Timing{Command: command, Took: time.Duration(micros) * time.Microsecond})
	}
	return out
}
