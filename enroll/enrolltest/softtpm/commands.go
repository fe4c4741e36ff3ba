package softtpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"fleetctl/enroll/tpm/wire"
)

// Handles and codes that only this end needs (TPM 2.0 Part 2, sections 6.6.3, 6.12, 6.13 and 7.4).
const (
	handleNull        = 0x40000007
	handlePassword    = 0x40000009
	handleEndorsement = 0x4000000B

	capHandles    = 1
	capProperties = 6

	rcHandle1    = wire.RC1Handle + 0x100 // TPM_RC_HANDLE + TPM_RC_1
	rcHierarchy1 = wire.RC1Hierarchy + 0x100
	rcPolicyFail = wire.RC1Policy + 0x900 // of the first session
	rcBadAuth1   = wire.RC1BadAuth + 0x900
	rcSize       = wire.RC1Size
)

// tpmCommand answers one command: what it returns after the handle, and the handle where there is one.
type tpmCommand func(*TPM, *Reader) (params []byte, handle uint32, err error)

var tpmCommands = map[uint32]tpmCommand{
	wire.CCGetCapability: (*TPM).getCapability, wire.CCNVReadPublic: (*TPM).nvReadPublic, wire.CCNVRead: (*TPM).nvRead,
	wire.CCReadPublic: (*TPM).readPublic, wire.CCCreatePrimary: (*TPM).createPrimary,
	wire.CCStartAuthSession: (*TPM).startAuthSession, wire.CCPolicySecret: (*TPM).policySecret,
	wire.CCActivateCredential: (*TPM).activateCredential, wire.CCFlushContext: (*TPM).FlushContext,
}

func (t *TPM) getCapability(in *Reader) ([]byte, uint32, error) {
	class, from, _ := in.U32(), in.U32(), in.U32()
	out := binary.BigEndian.AppendUint32([]byte{0}, class) // no more data
	switch class {
	case capProperties:
		var list []byte
		n := uint32(0)
		for _, p := range t.properties() {
			if p.Tag >= from && p.Tag>>8 == from>>8 {
				list = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(list, p.Tag), p.Value)
				n++
			}
		}
		return append(binary.BigEndian.AppendUint32(out, n), list...), 0, nil
	case capHandles:
		handles := t.handles(from)
		out = binary.BigEndian.AppendUint32(out, uint32(len(handles)))
		for _, h := range handles {
			out = binary.BigEndian.AppendUint32(out, h)
		}
		return out, 0, nil
	}
	return nil, 0, fmt.Errorf("enrolltest: the TPM does not model capability %d", class)
}

func (t *TPM) handles(from uint32) []uint32 {
	switch {
	case from>>24 == 0x01 && t.Cert != nil && from <= wire.IndexEKCert:
		return []uint32{wire.IndexEKCert}
	case from>>24 == 0x81 && t.Persistent && from <= wire.HandleEK:
		return []uint32{wire.HandleEK}
	}
	return nil
}

// properties are those that a report is made of (Part 2, section 6.13).
func (t *TPM) properties() []wire.Property {
	startup := uint32(0x0000000F) // all hierarchies are enabled
	if t.StartupZero {
		startup = 0
	}
	return []wire.Property{
		{Tag: 0x102, Value: 159}, {Tag: 0x105, Value: 0x464C5400}, // revision 1.59, "FLT"
		{Tag: 0x106, Value: 0x4D656D6F}, {Tag: 0x107, Value: 0x72790000}, // "Memory"
		{Tag: 0x10B, Value: 1<<16 | 2}, {Tag: 0x12C, Value: 1024},
		{Tag: 0x200, Value: t.Permanent}, {Tag: 0x201, Value: startup},
	}
}

func (t *TPM) nvReadPublic(in *Reader) ([]byte, uint32, error) {
	if in.U32() != wire.IndexEKCert || t.Cert == nil {
		return nil, 0, refuse(rcHandle1)
	}
	public := binary.BigEndian.AppendUint32(nil, wire.IndexEKCert)
	public = binary.BigEndian.AppendUint16(public, 0x000B)     // SHA-256
	public = binary.BigEndian.AppendUint32(public, 0x62072001) // as manufacturers define it: PPREAD, OWNERREAD, AUTHREAD, WRITTEN…
	public = tpm2b(public, nil)
	public = binary.BigEndian.AppendUint16(public, uint16(len(t.Cert)))
	return tpm2b(tpm2b(nil, public), nameOf(public)), 0, nil
}

func (t *TPM) nvRead(in *Reader) ([]byte, uint32, error) {
	_, index := in.U32(), in.U32()
	in.auths()
	size, offset := int(in.U16()), int(in.U16())
	switch {
	case index != wire.IndexEKCert || t.Cert == nil:
		return nil, 0, refuse(rcHandle1)
	case in.bad || offset+size > len(t.Cert):
		return nil, 0, refuse(0x146) // TPM_RC_NV_RANGE
	}
	return tpm2b(nil, t.Cert[offset:offset+size]), 0, nil
}

func (t *TPM) readPublic(in *Reader) ([]byte, uint32, error) {
	if in.U32() != wire.HandleEK || !t.Persistent {
		return nil, 0, refuse(rcHandle1)
	}
	public := t.ekPublic()
	return tpm2b(tpm2b(tpm2b(nil, public), nameOf(public)), nameOf(public)), 0, nil
}

func (t *TPM) createPrimary(in *Reader) ([]byte, uint32, error) {
	hierarchy := in.U32()
	in.auths()
	in.bytes() // inSensitive
	template := in.bytes()
	switch {
	case in.bad:
		return nil, 0, refuse(rcSize)
	case t.StartupZero && hierarchy != handleNull:
		return nil, 0, refuse(rcHierarchy1)
	case hierarchy == handleEndorsement && t.Permanent&2 != 0:
		return nil, 0, refuse(rcBadAuth1)
	}
	o, err := t.primary(hierarchy, template)
	if err != nil {
		return nil, 0, err
	}
	handle := 0x80000000 | t.next
	t.next++
	t.objects[handle] = o
	out := tpm2b(nil, o.public)
	out = tpm2b(tpm2b(out, nil), nil)                // creation data and hash: nobody reads them
	out = binary.BigEndian.AppendUint16(out, 0x8021) // TPM_ST_CREATION
	out = binary.BigEndian.AppendUint32(out, hierarchy)
	return tpm2b(tpm2b(out, nil), nameOf(o.public)), handle, nil
}

// primary makes what the two templates of the helper ask for. Another one is a change that this has to follow.
func (t *TPM) primary(hierarchy uint32, template []byte) (*tpmObject, error) {
	if hierarchy == handleEndorsement {
		want := tpm2.RSAEKTemplate
		want.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: make([]byte, 256)})
		if !bytes.Equal(template, tpm2.Marshal(want)) {
			return nil, fmt.Errorf("enrolltest: no EK template that the TPM models: %x", template)
		}
		return &tpmObject{public: t.ekPublic(), ek: true}, nil
	}
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](template)
	if err != nil || area.Type != tpm2.TPMAlgECC || hierarchy != handleNull {
		return nil, fmt.Errorf("enrolltest: no template that the TPM models: %x: %w", template, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	point, err := key.PublicKey.Bytes() // 04, x, y
	if err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
	})
	return &tpmObject{public: tpm2.Marshal(area)}, nil
}

func (t *TPM) startAuthSession(*Reader) ([]byte, uint32, error) {
	handle := 0x03000000 | t.next
	t.next++
	t.policy[handle] = false
	return tpm2b(nil, make([]byte, 16)), handle, nil
}

func (t *TPM) policySecret(in *Reader) ([]byte, uint32, error) {
	entity, session := in.U32(), in.U32()
	if _, ok := t.policy[session]; !ok {
		return nil, 0, refuse(rcHandle1 + 0x100)
	}
	if entity != handleEndorsement {
		return nil, 0, fmt.Errorf("enrolltest: the TPM does not model a policy of 0x%08X", entity)
	}
	if t.Permanent&2 != 0 {
		return nil, 0, refuse(rcBadAuth1)
	}
	t.policy[session] = true
	ticket := binary.BigEndian.AppendUint16(tpm2b(nil, nil), 0x8023) // TPM_ST_AUTH_SECRET
	return tpm2b(binary.BigEndian.AppendUint32(ticket, handleNull), nil), 0, nil
}

func (t *TPM) activateCredential(in *Reader) ([]byte, uint32, error) {
	object, key := t.objects[in.U32()], in.U32()
	auths := in.auths()
	credential, encrypted := in.bytes(), in.bytes()
	made := t.objects[key]
	switch {
	case in.bad || len(in.Buf) != 0:
		return nil, 0, refuse(rcSize)
	case object == nil:
		return nil, 0, refuse(rcHandle1)
	case (key != wire.HandleEK || !t.Persistent) && (made == nil || !made.ek):
		return nil, 0, refuse(rcHandle1 + 0x100)
	case len(auths) != 2 || auths[0] != handlePassword || !t.policy[auths[1]]:
		return nil, 0, refuse(rcPolicyFail)
	}
	secret, err := t.open(nameOf(object.public), credential, encrypted)
	if err != nil {
		return nil, 0, err
	}
	if t.WrongSecret {
		secret = bytes.Repeat([]byte{1}, len(secret))
	}
	return tpm2b(nil, secret), 0, nil
}

// FlushContext is TPM2_FlushContext (TPM 2.0 part 3, 28.4).
func (t *TPM) FlushContext(in *Reader) ([]byte, uint32, error) {
	handle := in.U32()
	_, session := t.policy[handle]
	if t.objects[handle] == nil && !session {
		return nil, 0, refuse(rcHandle1)
	}
	delete(t.objects, handle)
	delete(t.policy, handle)
	return nil, 0, nil
}
