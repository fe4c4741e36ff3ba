// Package device is the host's end of a TPM: finding the chip as tbot does, opening it, reading what makes up its
// identity, and activating credentials. It judges nothing: certificates and keys are handed on as bytes. The helper is
// built from it and is pushed to every host, so TPM commands are put together here by hand: go-tpm's marshalling works
// by reflection and would make the helper more than half as large again.
package device

import (
	"context"
	"os"
	"sync/atomic"

	"fleetctl/enroll/tpm/wire"
)

// Session is the work with one TPM. It remembers every handle that it made; Close flushes them.
type Session struct {
	tpm      TPM
	device   string
	found    string
	nvBlock  int      // largest TPM2_NV_Read; 0: not known yet
	made     []uint32 // handles to flush, oldest first
	derived  uint32   // the EK that Derive made; 0: none
	ek       wire.Derived
	object   uint32 // what a proof activates; 0: none
	timings  []wire.Timing
	reported int // timings that have been handed out

	Slow func(code uint32) // hears of a command that has no answer for a while, on a goroutine of its own; may be nil
	open atomic.Uint32     // the command under way; 0: none
}

// NewSession starts the work with a TPM that is open. device and found go into Raw.
func NewSession(t TPM, device, found string) *Session {
	return &Session{tpm: t, device: device, found: found}
}

// Read reads everything but the derived EK, which costs an RSA key generation. What a TPM lacks or refuses is in the
// Raw with its response code; an error means that there is no talking to it.
func (s *Session) Read(ctx context.Context, o wire.ReadOptions) (*wire.Raw, error) {
	raw := &wire.Raw{Device: s.device, Found: s.found}
	raw.Hostname, _ = os.Hostname()
	var err error
	if raw.Properties, err = s.properties(ctx); err != nil {
		return nil, err
	}
	steps := []func() error{
		func() (err error) { raw.NVIndices, err = s.handles(ctx, 0x01000000); return },
		func() (err error) { raw.Persistent, err = s.handles(ctx, 0x81000000); return },
		func() (err error) { raw.EKCert, err = s.nvArea(ctx, wire.IndexEKCert, wire.IndexEKCert); return },
		func() (err error) { raw.EK, err = s.readPublic(ctx, wire.HandleEK); return },
		func() (err error) { raw.SRK, err = s.readPublic(ctx, wire.HandleSRK); return },
	}
	if o.Object {
		steps = append(steps, func() (err error) { raw.Object, err = s.makeObject(ctx); return })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	raw.Timings = s.Timings()
	return raw, nil
}

// Derive makes the EK that tbot derives where there is no certificate, and keeps it for Activate: an RSA key costs real
// chips up to 17 seconds.
func (s *Session) Derive(ctx context.Context) (wire.Derived, error) {
	if s.derived != 0 {
		return s.ek, nil
	}
	var d wire.Derived
	var err error
	if d.Nonce, err = s.nvArea(ctx, wire.IndexEKNonce, handleOwner); err != nil {
		return d, err
	}
	s.derived, d.Key, err = s.createPrimary(ctx, handleEndorsement, ekTemplate(d.Nonce.Data))
	s.ek = d
	return d, err
}

// Activate has the TPM open a credential for the object that Read made, and flushes all that was made: it is the last
// thing of a session that asks the TPM for anything.
func (s *Session) Activate(ctx context.Context, c wire.Challenge) ([]byte, error) {
	key, err := s.challengedKey(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	if s.object == 0 {
		if _, err := s.makeObject(ctx); err != nil {
			return nil, err
		}
	}
	if s.object == 0 {
		return nil, wire.NewError(wire.ErrTPM, "the TPM makes no ECC P-256 key in the null hierarchy")
	}
	secret, err := s.activate(ctx, key, c)
	if err != nil {
		return nil, err
	}
	return secret, s.Close()
}

func (s *Session) challengedKey(ctx context.Context, which uint8) (uint32, error) {
	switch which {
	case wire.KeyPersistent:
		return wire.HandleEK, nil
	case wire.KeyDerived:
		if s.derived != 0 {
			return s.derived, nil
		}
		d, err := s.Derive(ctx)
		if err == nil && d.Key.Code != 0 {
			err = &wire.CommandError{Command: wire.CCCreatePrimary, Code: d.Key.Code}
		}
		return s.derived, err
	}
	return 0, wire.NewError(wire.ErrProtocol, "unknown key in a challenge")
}

// activate runs TPM2_ActivateCredential as the EK's default policy wants it: a policy session with
// TPM2_PolicySecret(endorsement) (EK Credential Profile, section B.6.2, PolicyA).
func (s *Session) activate(ctx context.Context, key uint32, c wire.Challenge) ([]byte, error) {
	session, err := s.policySession(ctx)
	if err != nil {
		return nil, err
	}
	var w writer
	w.tpm2b(c.ObjectID)
	w.tpm2b(c.Encrypted)
	_, rd, err := s.run(ctx, request{
		code:    wire.CCActivateCredential,
		handles: []uint32{s.object, key},
		auths:   []uint32{handlePassword, session},
		params:  w,
	})
	if err != nil {
		return nil, err
	}
	secret := rd.tpm2b()
	if rd.bad || len(rd.buf) != 0 {
		return nil, wire.NewError(wire.ErrTPM, "TPM2_ActivateCredential: malformed response")
	}
	return append([]byte(nil), secret...), nil
}

// policySession starts a session that satisfies PolicyA. It carries no HMAC, so that the caller's nonce protects
// nothing and may be constant.
func (s *Session) policySession(ctx context.Context) (uint32, error) {
	var w writer
	w.tpm2b(make([]byte, 16)) // nonceCaller: 16 bytes at least
	w.tpm2b(nil)              // salt
	w.u8(1)                   // TPM_SE_POLICY
	w.u16(algNull)            // symmetric
	w.u16(algSHA256)          // authHash
	session, _, err := s.run(ctx, request{
		code:    wire.CCStartAuthSession,
		handles: []uint32{handleNull, handleNull}, // unsalted, unbound
		params:  w,
	})
	if err != nil {
		return 0, err
	}
	w = nil
	w.tpm2b(nil) // nonceTPM
	w.tpm2b(nil) // cpHashA
	w.tpm2b(nil) // policyRef
	w.u32(0)     // expiration
	_, _, err = s.run(ctx, request{
		code:    wire.CCPolicySecret,
		handles: []uint32{handleEndorsement, session},
		auths:   []uint32{handlePassword},
		params:  w,
	})
	return session, err
}

// Timings returns what the commands since the last call took.
func (s *Session) Timings() []wire.Timing {
	t := s.timings[s.reported:]
	s.reported = len(s.timings)
	return append([]wire.Timing(nil), t...)
}

// Close flushes every handle that the session made, newest first. It needs no context: it must happen however the work
// ended. The TPM stays open.
func (s *Session) Close() error {
	var first error
	for len(s.made) > 0 {
		newest := s.made[len(s.made)-1]
		s.made = s.made[:len(s.made)-1]
		if err := s.flush(newest); err != nil && first == nil {
			first = err
		}
	}
	s.derived, s.object = 0, 0
	return first
}

func (s *Session) flush(handle uint32) error {
	var w writer
	w.u32(handle) // a parameter, not in the handle area (TPM 2.0 Part 3, section 28.4)
	_, _, err := s.run(context.Background(), request{code: wire.CCFlushContext, params: w})
	return err
}
