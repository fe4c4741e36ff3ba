package device

import (
	"context"

	"fleetctl/enroll/tpm/wire"
)

// Capabilities (TPM 2.0 Part 2, section 6.12) and the properties that the code itself needs (section 6.13).
const (
	capHandles    = 1
	capProperties = 6

	ptFixed       = 0x100
	ptVar         = 0x200
	ptNVBufferMax = 0x12C

	maxDigestBuffer = 1024 // bytes that every TPM takes at once (TPM 2.0 Part 2, section 10.4.8)

	defaultNVBlock = 512 // where the TPM does not say
	capabilityStep = 64  // entries a TPM2_GetCapability
	maxCapability  = 512 // entries in all
)

// properties reads TPM_PT_FIXED and TPM_PT_VAR. It is the first thing asked, so it also finds out whether this is a
// TPM 2.0 at all.
func (s *Session) properties(ctx context.Context) ([]wire.Property, error) {
	var all []wire.Property
	for _, first := range []uint32{ptFixed, ptVar} {
		err := s.capability(ctx, capProperties, first, func(rd *reader) uint32 {
			p := wire.Property{Tag: rd.u32(), Value: rd.u32()}
			if p.Tag < first || p.Tag >= first+0x100 {
				return 0
			}
			all = append(all, p)
			if p.Tag == ptNVBufferMax {
				s.nvBlock = int(p.Value)
			}
			return p.Tag + 1
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// handles lists the handles of the kind that first begins.
func (s *Session) handles(ctx context.Context, first uint32) ([]uint32, error) {
	var all []uint32
	err := s.capability(ctx, capHandles, first, func(rd *reader) uint32 {
		h := rd.u32()
		if h>>24 != first>>24 || h < first {
			return 0
		}
		all = append(all, h)
		return h + 1
	})
	return all, err
}

// capability calls entry for each entry that TPM2_GetCapability returns, until there are no more. entry returns the
// property to go on from, or 0 when it has seen enough.
func (s *Session) capability(ctx context.Context, class, from uint32, entry func(*reader) uint32) error {
	for seen := 0; seen < maxCapability; {
		var w writer
		w.u32(class)
		w.u32(from)
		w.u32(capabilityStep)
		_, rd, err := s.run(ctx, request{code: wire.CCGetCapability, params: w})
		if err != nil {
			return err
		}
		more, got, count := rd.u8(), rd.u32(), int(rd.u32())
		if rd.bad || got != class {
			return wire.NewError(wire.ErrTPM, "TPM2_GetCapability: malformed response")
		}
		next := from
		for i := 0; i < count && !rd.bad && next != 0; i++ {
			next = entry(&rd)
		}
		if rd.bad {
			return wire.NewError(wire.ErrTPM, "TPM2_GetCapability: response is too short")
		}
		if more == 0 || count == 0 || next <= from {
			return nil
		}
		seen, from = seen+count, next
	}
	return nil
}

// nvArea reads an NV index whole, authorised by auth with an empty password, as go-attestation does. A response code is
// part of the result; an error is not.
func (s *Session) nvArea(ctx context.Context, index, auth uint32) (wire.Area, error) {
	var a wire.Area
	var w writer
	_, rd, err := s.run(ctx, request{code: wire.CCNVReadPublic, handles: []uint32{index}, params: w})
	if err != nil {
		return absorbArea(a, err)
	}
	public := reader{buf: rd.tpm2b(), bad: rd.bad}
	public.u32() // index
	public.u16() // nameAlg
	a.Attributes = public.u32()
	public.tpm2b() // authPolicy
	size := int(public.u16())
	if public.bad {
		return a, wire.NewError(wire.ErrTPM, "TPM2_NV_ReadPublic: malformed response")
	}
	a.Defined = true
	data, err := s.nvRead(ctx, index, auth, size)
	if err != nil {
		return absorbArea(a, err)
	}
	a.Data = data
	return a, nil
}

func (s *Session) nvRead(ctx context.Context, index, auth uint32, size int) ([]byte, error) {
	block := s.nvBlock
	if block <= 0 || block > 2048 {
		block = defaultNVBlock
	}
	data := make([]byte, 0, size)
	for len(data) < size {
		var w writer
		w.u16(uint16(min(block, size-len(data))))
		w.u16(uint16(len(data)))
		_, rd, err := s.run(ctx, request{
			code:    wire.CCNVRead,
			handles: []uint32{auth, index},
			auths:   []uint32{handlePassword},
			params:  w,
		})
		if err != nil {
			return nil, err
		}
		part := rd.tpm2b()
		if rd.bad || len(part) == 0 || len(part) > size-len(data) {
			return nil, wire.NewError(wire.ErrTPM, "TPM2_NV_Read: malformed response")
		}
		data = append(data, part...)
	}
	return data, nil
}

// absorbArea makes a response code part of the result, unless it means that the TPM as a whole cannot be used now.
func absorbArea(a wire.Area, err error) (wire.Area, error) {
	a.Code, err = absorb(err)
	return a, err
}

func absorb(err error) (uint32, error) {
	code := codeOf(err)
	if code == 0 || code == wire.RCInitialize || code == wire.RCFailure || patience(err) {
		return 0, err
	}
	return code, nil
}

func (s *Session) readPublic(ctx context.Context, handle uint32) (wire.Key, error) {
	_, rd, err := s.run(ctx, request{code: wire.CCReadPublic, handles: []uint32{handle}})
	if err != nil {
		code, err := absorb(err)
		return wire.Key{Code: code}, err
	}
	public, name := rd.tpm2b(), rd.tpm2b()
	if rd.bad {
		return wire.Key{}, wire.NewError(wire.ErrTPM, "TPM2_ReadPublic: malformed response")
	}
	return newKey(public, name), nil
}

func newKey(public, name []byte) wire.Key {
	return wire.Key{Public: append([]byte(nil), public...), Name: append([]byte(nil), name...)}
}

// createPrimary makes a primary key without a password of its own in a hierarchy with an empty password.
func (s *Session) createPrimary(ctx context.Context, hierarchy uint32, template []byte) (uint32, wire.Key, error) {
	var w writer
	w.tpm2b([]byte{0, 0, 0, 0}) // inSensitive: no password, no data
	w.tpm2b(template)           // inPublic
	w.tpm2b(nil)                // outsideInfo
	w.u32(0)                    // creationPCR: none
	handle, rd, err := s.run(ctx, request{
		code:    wire.CCCreatePrimary,
		handles: []uint32{hierarchy},
		auths:   []uint32{handlePassword},
		params:  w,
	})
	if err != nil {
		code, err := absorb(err)
		return 0, wire.Key{Code: code}, err
	}
	public := rd.tpm2b()
	rd.tpm2b() // creationData
	rd.tpm2b() // creationHash
	rd.u16()   // creationTicket: tag,
	rd.u32()   // hierarchy,
	rd.tpm2b() // digest
	name := rd.tpm2b()
	if rd.bad {
		return handle, wire.Key{}, wire.NewError(wire.ErrTPM, "TPM2_CreatePrimary: malformed response")
	}
	return handle, newKey(public, name), nil
}

func (s *Session) makeObject(ctx context.Context) (wire.Key, error) {
	handle, key, err := s.createPrimary(ctx, handleNull, objectTemplate())
	s.object = handle
	return key, err
}

// SHA256 has the TPM hash up to 1024 bytes.
func (s *Session) SHA256(ctx context.Context, data []byte) ([]byte, error) {
	if len(data) > maxDigestBuffer {
		return nil, wire.NewError(wire.ErrTPM, "too much to hash")
	}
	var w writer
	w.tpm2b(data)
	w.u16(algSHA256)
	w.u32(handleNull) // no ticket
	_, rd, err := s.run(ctx, request{code: wire.CCHash, params: w})
	if err != nil {
		return nil, err
	}
	digest := rd.tpm2b()
	if rd.bad || len(digest) != 32 {
		return nil, wire.NewError(wire.ErrTPM, "TPM2_Hash: malformed response")
	}
	return append([]byte(nil), digest...), nil
}
