// Package softtpm is a TPM 2.0 in memory, as far as reading and proving an endorsement key asks, and a maker of EK certificates.
package softtpm

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/go-tpm/tpm2"

	"fleetctl/enroll/tpm/wire"
)

// SerialOf writes a serial number as Teleport does: big-endian hex pairs with ":" between.
func SerialOf(cert *x509.Certificate) string {
	var pairs []string
	for _, c := range cert.SerialNumber.Bytes() {
		pairs = append(pairs, fmt.Sprintf("%02x", c))
	}
	return strings.Join(pairs, ":")
}

// TPM is a TPM 2.0 in memory, as far as the helper asks one: its commands are answered as Part 3 of the specification
// says, so that the helper's own code runs above it. What it holds: an RSA-2048 EK of template L-1, perhaps made
// persistent, perhaps with a certificate. The fields are set before use.
type TPM struct {
	Cert        []byte // of NV index 0x01C00002; nil: not defined. See CA.Certify
	Persistent  bool   // the EK lies at 0x81010001
	Permanent   uint32 // TPM_PT_PERMANENT: 1 owner auth, 2 endorsement auth, 1<<9 in lockout (Part 2, section 8.6)
	StartupZero bool   // TPM_PT_STARTUP_CLEAR shows all hierarchies as disabled
	Err         error  // what opening it fails with: one of the wire.Err sentinels; nil: it opens

	Refuse func(command uint32) uint32 // the response code that a command is refused with; 0: none. nil: none is

	Claims      *TPM // the lie: it shows this one's EK, whose private key it does not have
	WrongSecret bool // the lie: it answers a challenge with something else

	Number int
	Key    *rsa.PrivateKey

	mu      sync.Mutex
	objects map[uint32]*tpmObject
	policy  map[uint32]bool // sessions; true once TPM2_PolicySecret(endorsement) ran
	next    uint32
}

type tpmObject struct {
	public []byte // TPMT_PUBLIC
	ek     bool
}

// NewTPM makes the TPM whose EK has that number, from 0 to MaxEKs: the same key in every run.
func NewTPM(number int) (*TPM, error) {
	key, err := EkKey(number)
	if err != nil {
		return nil, err
	}
	t := NewTPMOf(key)
	t.Number = number
	return t, nil
}

// NewTPMOf makes the TPM with that EK, for fleets that are larger than MaxEKs.
func NewTPMOf(key *rsa.PrivateKey) *TPM {
	return &TPM{Key: key, objects: map[uint32]*tpmObject{}, policy: map[uint32]bool{}, next: 1}
}

// shown is the TPM whose public parts this one shows.
func (t *TPM) shown() *TPM {
	if t.Claims != nil {
		return t.Claims
	}
	return t
}

// EKHash is the EKPub hash that its host presents: 64 lower-case hex digits. A liar's is the one that it claims.
func (t *TPM) EKHash() string {
	hash, err := hashOf(&t.shown().Key.PublicKey)
	if err != nil {
		panic(err) // an RSA key can always be encoded
	}
	return hash
}

// Left counts the handles that were made and not flushed.
func (t *TPM) Left() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.objects) + len(t.policy)
}

// ekPublic is the EK's TPMT_PUBLIC.
func (t *TPM) ekPublic() []byte {
	area := tpm2.RSAEKTemplate
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: t.shown().Key.N.Bytes()})
	return tpm2.Marshal(area)
}

// Send answers one command (Part 1, section 18).
func (t *TPM) Send(command []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := Reader{Buf: command}
	tag, size, code := in.U16(), in.U32(), in.U32()
	if in.bad || int(size) != len(command) || tag != tagPlain && tag != tagSessions {
		return tpmResponse(tagPlain, rcBadTag, nil), nil
	}
	if t.Refuse != nil {
		if rc := t.Refuse(code); rc != 0 {
			return tpmResponse(tagPlain, rc, nil), nil
		}
	}
	answer, ok := tpmCommands[code]
	if !ok {
		return nil, fmt.Errorf("enrolltest: the TPM does not model %s", wire.CommandName(code))
	}
	out, handle, err := answer(t, &in)
	var refused *wire.CommandError
	switch {
	case errors.As(err, &refused):
		return tpmResponse(tagPlain, refused.Code, nil), nil
	case err != nil:
		return nil, err
	}
	return tpmAnswer(tag, out, handle), nil
}

const (
	tagPlain    = 0x8001 // TPM_ST_NO_SESSIONS
	tagSessions = 0x8002 // TPM_ST_SESSIONS
	rcBadTag    = 0x01E
)

func refuse(code uint32) error { return &wire.CommandError{Code: code} }

// tpmAnswer puts handle, parameters and the sessions' acknowledgement around what a command returns.
func tpmAnswer(tag uint16, params []byte, handle uint32) []byte {
	var body []byte
	if handle != 0 {
		body = binary.BigEndian.AppendUint32(body, handle)
	}
	if tag == tagSessions {
		body = binary.BigEndian.AppendUint32(body, uint32(len(params)))
		body = append(body, params...)
		body = append(body, 0, 0, 1, 0, 0) // one empty acknowledgement: the helper reads none of it
	} else {
		body = append(body, params...)
	}
	return tpmResponse(tag, 0, body)
}

func tpmResponse(tag uint16, code uint32, body []byte) []byte {
	out := binary.BigEndian.AppendUint16(nil, tag)
	out = binary.BigEndian.AppendUint32(out, uint32(10+len(body)))
	out = binary.BigEndian.AppendUint32(out, code)
	return append(out, body...)
}

// Reader takes a command apart; after the first thing that is not there it is bad and gives zeros.
type Reader struct {
	Buf []byte
	bad bool
}

func (r *Reader) take(n int) []byte {
	if r.bad || n > len(r.Buf) {
		r.bad = true
		return make([]byte, n&0xFF)
	}
	v := r.Buf[:n]
	r.Buf = r.Buf[n:]
	return v
}

func (r *Reader) u8() uint8 {
	if v := r.take(1); !r.bad {
		return v[0]
	}
	return 0
}

// U16 reads two bytes.
func (r *Reader) U16() uint16 {
	if v := r.take(2); !r.bad {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

// U32 reads four bytes.
func (r *Reader) U32() uint32 {
	if v := r.take(4); !r.bad {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *Reader) bytes() []byte { return r.take(int(r.U16())) }

// auths takes the authorisation area and returns the session handles in it.
func (r *Reader) auths() []uint32 {
	area := Reader{Buf: r.take(int(r.U32()))}
	var out []uint32
	for len(area.Buf) > 0 && !area.bad {
		out = append(out, area.U32())
		area.bytes() // nonce
		area.u8()    // attributes
		area.bytes() // HMAC or password
	}
	r.bad = r.bad || area.bad
	return out
}

func tpm2b(out, v []byte) []byte {
	return append(binary.BigEndian.AppendUint16(out, uint16(len(v))), v...)
}
