package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample() *Raw {
	key := Key{Code: 0x18b, Public: []byte{1, 2}, Name: []byte{3}}
	return &Raw{
		Device: "/dev/tpmrm0", Found: FoundSysfs, Hostname: "web-01",
		Properties: []Property{{0x105, 0x49465800}, {0x200, math.MaxUint32}},
		NVIndices:  []uint32{IndexEKCert}, Persistent: []uint32{HandleEK, HandleSRK},
		EKCert: Area{Code: 1, Defined: true, Attributes: 0x62076801, Data: []byte{0x30, 0}},
		EK:     key, SRK: Key{}, Object: key,
		Derived: Derived{Nonce: Area{Data: []byte{9}}, Key: key},
		Timings: []Timing{{CCCreatePrimary, 17 * time.Second}, {CCNVRead, time.Microsecond}},
	}
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	raw, err := ParseRaw(AppendRaw(nil, sample()))
	if err != nil || !reflect.DeepEqual(raw, sample()) {
		t.Errorf("raw: %v\n%+v", err, raw)
	}
	empty, err := ParseRaw(AppendRaw(nil, &Raw{}))
	if err != nil || !reflect.DeepEqual(empty, &Raw{}) {
		t.Errorf("empty raw: %v\n%+v", err, empty)
	}
	d, timings, err := ParseDerived(AppendDerived(nil, sample().Derived, sample().Timings))
	if err != nil || !reflect.DeepEqual(d, sample().Derived) || !reflect.DeepEqual(timings, sample().Timings) {
		t.Errorf("derived: %v\n%+v", err, d)
	}
	challenge := Challenge{Key: KeyDerived, ObjectID: []byte{1}, Encrypted: []byte{2, 3}}
	if c, err := ParseChallenge(AppendChallenge(nil, challenge)); err != nil || !reflect.DeepEqual(c, challenge) {
		t.Errorf("challenge: %v\n%+v", err, c)
	}
	answer := Answer{Secret: []byte("secret"), Timings: sample().Timings}
	if a, err := ParseAnswer(AppendAnswer(nil, answer)); err != nil || !reflect.DeepEqual(a, answer) {
		t.Errorf("answer: %v\n%+v", err, a)
	}
	if o, err := ParseRead(AppendRead(nil, ReadOptions{Object: true})); err != nil || !o.Object {
		t.Errorf("read: %v", err)
	}
	if err := ParseHello(AppendHello(nil)); err != nil {
		t.Errorf("hello: %v", err)
	}
}

func TestErrorsAreTheSameOnTheOtherSide(t *testing.T) {
	for _, kind := range kinds() {
		err := ParseError(AppendError(nil, NewError(kind, "because")))
		if !errors.Is(err, kind) || err.Error() != kind.Error()+": because" {
			t.Errorf("%v became %v", kind, err)
		}
	}
	command := &CommandError{Command: CCCreatePrimary, Code: 0x9a2}
	err := ParseError(AppendError(nil, command))
	var got *CommandError
	if !errors.As(err, &got) || *got != *command || !errors.Is(err, ErrTPM) {
		t.Errorf("%v became %v", command, err)
	}
	if err := ParseError(AppendError(nil, context.Canceled)); !errors.Is(err, ErrTPM) {
		t.Errorf("an unknown error became %v", err)
	}
	long := ParseError(AppendError(nil, NewError(ErrTPM, strings.Repeat("x\x1b", 4096))))
	if len(long.Error()) > MaxDetail+32 || strings.ContainsRune(long.Error(), 0x1b) {
		t.Errorf("%q", long)
	}
}

func TestResponseCodesAreSentinels(t *testing.T) {
	tests := []struct {
		code uint32
		want error
		text string
	}{
		{RCLockout, ErrLockout, "TPM2_NV_Read: TPM_RC_LOCKOUT (0x921)"},
		{RCRetry, ErrBusy, "TPM2_NV_Read: TPM_RC_RETRY (0x922)"},
		{RC12BadTag, ErrTPM12, "TPM2_NV_Read: response code 0x1e"},
		{0x9a2, ErrTPM, "TPM2_NV_Read: TPM_RC_BAD_AUTH (0x9a2)"},
		{0x1df, ErrTPM, "TPM2_NV_Read: TPM_RC_INTEGRITY (0x1df)"},
		{0x101, ErrTPM, "TPM2_NV_Read: TPM_RC_FAILURE (0x101)"},
		{0, ErrTPM, "TPM2_NV_Read: response code 0x0"},
	}
	for _, test := range tests {
		err := &CommandError{Command: CCNVRead, Code: test.code}
		if !errors.Is(err, test.want) || err.Error() != test.text {
			t.Errorf("%v, want %q", err, test.text)
		}
	}
}

func TestEveryCutOfAPayloadIsRefused(t *testing.T) {
	whole := AppendRaw(nil, sample())
	for i := range whole {
		if _, err := ParseRaw(whole[:i]); !errors.Is(err, ErrProtocol) {
			t.Fatalf("%d of %d bytes: %v", i, len(whole), err)
		}
	}
	if _, err := ParseRaw(append(whole, 0)); !errors.Is(err, ErrProtocol) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestFrames(t *testing.T) {
	var stream bytes.Buffer
	if err := WriteFrame(&stream, TypeRaw, []byte("payload")); err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(stream.Bytes())
	kind, payload, err := ReadFrame(&stream)
	if kind != TypeRaw || string(payload) != "payload" || err != nil {
		t.Errorf("%v %q %v", kind, payload, err)
	}
	if _, _, err := ReadFrame(&stream); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	for i := 1; i < len(whole); i++ {
		if _, _, err := ReadFrame(bytes.NewReader(whole[:i])); !errors.Is(err, ErrProtocol) {
			t.Errorf("%d of %d bytes: %v", i, len(whole), err)
		}
	}
	if err := WriteFrame(io.Discard, TypeRaw, make([]byte, MaxFrame+1)); !errors.Is(err, ErrProtocol) {
		t.Errorf("a frame that is too long was written: %v", err)
	}
}

func TestAppendJSONIsOneLineOfJSON(t *testing.T) {
	raw := sample()
	raw.Hostname = "a\"b\\c\nd\x00\xff"
	line := AppendJSON(nil, raw)
	if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
		t.Errorf("%q", line)
	}
	var v map[string]any
	if err := json.Unmarshal(line, &v); err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	if v["hostname"] != `a"b\c?d??` || v["fleetctl_identify"] != 1.0 {
		t.Errorf("%s", line)
	}
}

func TestHex32(t *testing.T) {
	for v, want := range map[uint32]string{0: "0x0", 0xf: "0xf", 0x81010001: "0x81010001", 0x100: "0x100"} {
		if got := Hex32(v); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Whatever a host sends: no panic, no more memory than a frame, and what is taken is what would be sent.
func FuzzFrames(f *testing.F) {
	add := func(kind Type, payload []byte) {
		var b bytes.Buffer
		_ = WriteFrame(&b, kind, payload)
		f.Add(b.Bytes())
	}
	add(TypeHello, AppendHello(nil))
	add(TypeRaw, AppendRaw(nil, sample()))
	add(TypeDerived, AppendDerived(nil, sample().Derived, sample().Timings))
	add(TypeAnswer, AppendAnswer(nil, Answer{Secret: make([]byte, 32), Timings: sample().Timings}))
	add(TypeError, AppendError(nil, NewError(ErrBusy, "held")))
	add(TypeError, AppendError(nil, &CommandError{CCNVRead, RCLockout}))
	add(TypeActivate, AppendChallenge(nil, Challenge{Key: 1, ObjectID: []byte{1}, Encrypted: []byte{2}}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for {
			kind, payload, err := ReadFrame(r)
			if err != nil {
				return
			}
			again, err := reencode(kind, payload)
			if err == nil && !bytes.Equal(again, payload) {
				t.Fatalf("type %d: %x is taken for %x", kind, payload, again)
			}
		}
	})
}

func reencode(kind Type, payload []byte) ([]byte, error) {
	switch kind {
	case TypeHello:
		return AppendHello(nil), ParseHello(payload)
	case TypeRaw:
		v, err := ParseRaw(payload)
		if err != nil {
			return nil, err
		}
		_ = AppendJSON(nil, v)
		return AppendRaw(nil, v), nil
	case TypeDerived:
		v, timings, err := ParseDerived(payload)
		return AppendDerived(nil, v, timings), err
	case TypeAnswer:
		v, err := ParseAnswer(payload)
		return AppendAnswer(nil, v), err
	case TypeRead:
		v, err := ParseRead(payload)
		return AppendRead(nil, v), err
	case TypeActivate:
		v, err := ParseChallenge(payload)
		return AppendChallenge(nil, v), err
	case TypeError:
		_ = ParseError(payload).Error() // it is made printable, so it need not be the same
	}
	return payload, nil
}
