package tpm_test

import (
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Surgery on TPMs: everything that a platform's or an owner's software may have done to one. Platform and owner have
// empty passwords in the factory state.

const (
	indexEKCert     = tpm2.TPMHandle(0x01C00002)
	indexNonce      = tpm2.TPMHandle(0x01C00003)
	indexTemplate   = tpm2.TPMHandle(0x01C00004)
	indexECCEKCert  = tpm2.TPMHandle(0x01C0000A)
	handleEK        = tpm2.TPMHandle(0x81010001)
	handleSRK       = tpm2.TPMHandle(0x81000001)
	lockoutAttempts = 64
)

// must fails the test on an error of a TPM command.
func must[R any](t testing.TB) func(R, error) R {
	return func(r R, err error) R {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

func platform() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
}

func hierarchy(h tpm2.TPMHandle) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: h, Auth: tpm2.PasswordAuth(nil)}
}

// readable is how a manufacturer defines an index for everybody to read.
func readable() tpm2.TPMANV {
	return tpm2.TPMANV{PPWrite: true, PPRead: true, OwnerRead: true, AuthRead: true, NoDA: true, PlatformCreate: true}
}

// index is an NV index to define.
type index struct {
	handle   tpm2.TPMHandle
	data     []byte
	attrs    tpm2.TPMANV
	password []byte
	size     int // where it is not that of data
	blank    bool
}

// define replaces an NV index.
func define(t testing.TB, tpm transport.TPM, x index) {
	t.Helper()
	undefine(t, tpm, x.handle)
	size := x.size
	if size == 0 {
		size = len(x.data)
	}
	must[*tpm2.NVDefineSpaceResponse](t)(tpm2.NVDefineSpace{
		AuthHandle: platform(),
		Auth:       tpm2.TPM2BAuth{Buffer: x.password},
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: x.handle, NameAlg: tpm2.TPMAlgSHA256, Attributes: x.attrs, DataSize: uint16(size),
		}),
	}.Execute(tpm))
	for off := 0; off < len(x.data) && !x.blank; off += 512 {
		pub := must[*tpm2.NVReadPublicResponse](t)(tpm2.NVReadPublic{NVIndex: x.handle}.Execute(tpm))
		must[*tpm2.NVWriteResponse](t)(tpm2.NVWrite{
			AuthHandle: platform(),
			NVIndex:    tpm2.NamedHandle{Handle: x.handle, Name: pub.NVName},
			Data:       tpm2.TPM2BMaxNVBuffer{Buffer: x.data[off:min(off+512, len(x.data))]},
			Offset:     uint16(off),
		}.Execute(tpm))
	}
}

func undefine(t testing.TB, tpm transport.TPM, handle tpm2.TPMHandle) {
	t.Helper()
	pub, err := tpm2.NVReadPublic{NVIndex: handle}.Execute(tpm)
	if err != nil {
		return
	}
	must[*tpm2.NVUndefineSpaceResponse](t)(tpm2.NVUndefineSpace{
		AuthHandle: platform(), NVIndex: tpm2.NamedHandle{Handle: handle, Name: pub.NVName},
	}.Execute(tpm))
}

// lockReading makes an index unreadable until the next start.
func lockReading(t testing.TB, tpm transport.TPM, handle tpm2.TPMHandle) {
	t.Helper()
	pub := must[*tpm2.NVReadPublicResponse](t)(tpm2.NVReadPublic{NVIndex: handle}.Execute(tpm))
	must[*tpm2.NVReadLockResponse](t)(tpm2.NVReadLock{
		AuthHandle: platform(), NVIndex: tpm2.NamedHandle{Handle: handle, Name: pub.NVName},
	}.Execute(tpm))
}

func setPassword(t testing.TB, tpm transport.TPM, h tpm2.TPMHandle) {
	t.Helper()
	must[*tpm2.HierarchyChangeAuthResponse](t)(tpm2.HierarchyChangeAuth{
		AuthHandle: hierarchy(h), NewAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")},
	}.Execute(tpm))
}

// disable runs TPM2_HierarchyControl (TPM 2.0 Part 3, section 24.2), which go-tpm does not have.
func disable(t testing.TB, tpm transport.TPM, h tpm2.TPMHandle) {
	t.Helper()
	command := []byte{0x80, 0x02, 0, 0, 0, 32, 0, 0, 0x01, 0x21}
	command = binary.BigEndian.AppendUint32(command, uint32(tpm2.TPMRHPlatform))
	command = append(command, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0) // empty password
	command = binary.BigEndian.AppendUint32(command, uint32(h))
	command = append(command, 0) // NO
	response, err := tpm.Send(command)
	if err != nil || len(response) < 10 || binary.BigEndian.Uint32(response[6:]) != 0 {
		t.Fatalf("TPM2_HierarchyControl: %v, %x", err, response)
	}
}

// persist makes a primary key and puts it at a persistent handle, in the place of what is there.
func persist(t testing.TB, tpm transport.TPM, parent tpm2.TPMHandle, template tpm2.TPMTPublic, at tpm2.TPMHandle) {
	t.Helper()
	evict(t, tpm, at)
	key := must[*tpm2.CreatePrimaryResponse](t)(tpm2.CreatePrimary{
		PrimaryHandle: hierarchy(parent), InPublic: tpm2.New2B(template),
	}.Execute(tpm))
	must[*tpm2.EvictControlResponse](t)(tpm2.EvictControl{
		Auth: hierarchy(tpm2.TPMRHOwner), PersistentHandle: at,
		ObjectHandle: &tpm2.NamedHandle{Handle: key.ObjectHandle, Name: key.Name},
	}.Execute(tpm))
	must[*tpm2.FlushContextResponse](t)(tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(tpm))
}

func evict(t testing.TB, tpm transport.TPM, at tpm2.TPMHandle) {
	t.Helper()
	pub, err := tpm2.ReadPublic{ObjectHandle: at}.Execute(tpm)
	if err != nil {
		return
	}
	must[*tpm2.EvictControlResponse](t)(tpm2.EvictControl{
		Auth: hierarchy(tpm2.TPMRHOwner), PersistentHandle: at,
		ObjectHandle: &tpm2.NamedHandle{Handle: at, Name: pub.Name},
	}.Execute(tpm))
}

// derivedEK is the key that the default template gives.
func derivedEK(t testing.TB, tpm transport.TPM) *rsa.PublicKey {
	t.Helper()
	key := must[*tpm2.CreatePrimaryResponse](t)(tpm2.CreatePrimary{
		PrimaryHandle: hierarchy(tpm2.TPMRHEndorsement), InPublic: tpm2.New2B(tpm2.RSAEKTemplate),
	}.Execute(tpm))
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(tpm) }()
	area := must[*tpm2.TPMTPublic](t)(key.OutPublic.Contents())
	public := must[any](t)(tpm2.Pub(*area))
	return public.(*rsa.PublicKey)
}

// lockOut fails an authorization that counts until the TPM locks itself.
func lockOut(t testing.TB, tpm transport.TPM) {
	t.Helper()
	const handle = tpm2.TPMHandle(0x01800001)
	attrs := tpm2.TPMANV{PPWrite: true, AuthRead: true, PlatformCreate: true}
	define(t, tpm, index{handle: handle, data: []byte{1}, attrs: attrs, password: []byte("secret")})
	pub := must[*tpm2.NVReadPublicResponse](t)(tpm2.NVReadPublic{NVIndex: handle}.Execute(tpm))
	for range lockoutAttempts {
		_, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: handle, Name: pub.NVName, Auth: tpm2.PasswordAuth([]byte("wrong"))},
			NVIndex:    tpm2.NamedHandle{Handle: handle, Name: pub.NVName}, Size: 1,
		}.Execute(tpm)
		if errors.Is(err, tpm2.TPMRCLockout) {
			undefine(t, tpm, handle)
			return
		}
	}
	t.Fatal("the TPM does not lock itself")
}
