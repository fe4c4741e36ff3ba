package device

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/google/go-tpm/tpm2"

	"fleetctl/enroll/tpm/wire"
)

// fake is a TPM that answers every command with what respond says.
type fake struct {
	respond func(code uint32, n int) []byte
	codes   []uint32
}

func (f *fake) Send(command []byte) ([]byte, error) {
	r := reader{buf: command[6:]}
	code := r.u32()
	f.codes = append(f.codes, code)
	return f.respond(code, len(f.codes)-1), nil
}

func codeOnly(rc uint32) []byte {
	var w writer
	w.u16(tagNoSessions)
	w.u32(10)
	w.u32(rc)
	return w
}

func response(tag uint16, body ...byte) []byte {
	var w writer
	w.u16(tag)
	w.u32(uint32(10 + len(body)))
	w.u32(0)
	w.raw(body)
	return w
}

// The templates are those of go-tpm, byte for byte.
func TestTemplatesAreTheTCGs(t *testing.T) {
	if want := tpm2.Marshal(tpm2.RSAEKTemplate); !bytes.Equal(ekTemplate(nil), want) {
		t.Errorf("EK template\n%x\n%x", ekTemplate(nil), want)
	}
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](objectTemplate())
	if err != nil {
		t.Fatal(err)
	}
	a := area.ObjectAttributes
	if area.Type != tpm2.TPMAlgECC || !a.Restricted || !a.SignEncrypt || a.Decrypt || !a.FixedTPM || !a.FixedParent || !a.NoDA {
		t.Errorf("%+v", area)
	}
}

func TestNonceGoesToTheFrontOfUnique(t *testing.T) {
	nonce := bytes.Repeat([]byte{7}, 300)
	for _, size := range []int{0, 1, 256, 300} {
		template := ekTemplate(nonce[:size])
		area, err := tpm2.Unmarshal[tpm2.TPMTPublic](template)
		if err != nil {
			t.Fatal(err)
		}
		unique, err := area.Unique.RSA()
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 256)
		copy(want, nonce[:size])
		if !bytes.Equal(unique.Buffer, want) {
			t.Errorf("%d bytes: %x", size, unique.Buffer)
		}
	}
}

func TestCommandsAreEncodedAsGoTPMEncodesThem(t *testing.T) {
	var got, want [][]byte
	s := NewSession(sender(func(c []byte) []byte {
		got = append(got, bytes.Clone(c))
		return codeOnly(wire.RC1Handle | 0x100)
	}), "", "")
	_, _ = s.readPublic(t.Context(), wire.HandleEK)
	_, _ = s.nvArea(t.Context(), wire.IndexEKCert, wire.IndexEKCert)
	_, _, _ = s.createPrimary(t.Context(), handleEndorsement, ekTemplate(nil))
	_, _ = s.SHA256(t.Context(), []byte("abc"))
	s.object = 0x80000001
	_, _ = s.activate(t.Context(), wire.HandleEK, wire.Challenge{ObjectID: []byte{1, 2}, Encrypted: []byte{3}})
	reference := sender(func(c []byte) []byte {
		want = append(want, bytes.Clone(c))
		return codeOnly(wire.RC1Handle | 0x100)
	})
	empty := tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)}
	_, _ = tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(wire.HandleEK)}.Execute(reference)
	_, _ = tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(wire.IndexEKCert)}.Execute(reference)
	_, _ = tpm2.CreatePrimary{PrimaryHandle: empty, InPublic: tpm2.New2B(tpm2.RSAEKTemplate)}.Execute(reference)
	_, _ = tpm2.Hash{Data: tpm2.TPM2BMaxBuffer{Buffer: []byte("abc")}, HashAlg: tpm2.TPMAlgSHA256, Hierarchy: tpm2.TPMRHNull}.Execute(reference)
	_, _ = tpm2.StartAuthSession{
		TPMKey: tpm2.TPMRHNull, Bind: tpm2.TPMRHNull, NonceCaller: tpm2.TPM2BNonce{Buffer: make([]byte, 16)},
		SessionType: tpm2.TPMSEPolicy, AuthHash: tpm2.TPMAlgSHA256, Symmetric: tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
	}.Execute(reference)
	if len(got) != len(want) {
		t.Fatalf("%d commands, go-tpm sends %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("command %d\n%x\n%x", i, got[i], want[i])
		}
	}
}

type sender func([]byte) []byte

func (f sender) Send(command []byte) ([]byte, error) { return f(command), nil }

func TestATPMThatAsksForPatienceForeverIsBusy(t *testing.T) {
	for _, rc := range []uint32{wire.RCRetry, wire.RCYielded, wire.RCTesting} {
		synctest.Test(t, func(t *testing.T) {
			s := NewSession(&fake{respond: func(uint32, int) []byte { return codeOnly(rc) }}, "", "")
			_, err := s.Read(t.Context(), wire.ReadOptions{})
			if !errors.Is(err, wire.ErrBusy) {
				t.Errorf("%x: %v", rc, err)
			}
		})
	}
}

func TestPatienceEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*retryFirst)
		defer cancel()
		f := &fake{respond: func(uint32, int) []byte { return codeOnly(wire.RCRetry) }}
		_, err := NewSession(f, "", "").Read(ctx, wire.ReadOptions{})
		if !errors.Is(err, context.DeadlineExceeded) || len(f.codes) > 10 {
			t.Errorf("%v after %d commands", err, len(f.codes))
		}
	})
}

func TestLockoutAndOldTPMsAreNamed(t *testing.T) {
	for rc, want := range map[uint32]error{
		wire.RCLockout: wire.ErrLockout, wire.RC12BadTag: wire.ErrTPM12, wire.RCFailure: wire.ErrTPM, wire.RCInitialize: wire.ErrTPM,
	} {
		s := NewSession(&fake{respond: func(uint32, int) []byte { return codeOnly(rc) }}, "", "")
		if _, err := s.Read(t.Context(), wire.ReadOptions{}); !errors.Is(err, want) {
			t.Errorf("%x: %v, want %v", rc, err, want)
		}
	}
}

// A key that was made is flushed even where the rest of the response makes no sense.
func TestAHandleIsFlushedAlthoughItsResponseIsMalformed(t *testing.T) {
	f := &fake{respond: func(code uint32, _ int) []byte {
		switch code {
		case wire.CCCreatePrimary:
			return response(tagSessions, 0x80, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff)
		case wire.CCFlushContext:
			return response(tagNoSessions)
		}
		return codeOnly(wire.RC1Handle)
	}}
	s := NewSession(f, "", "")
	if _, err := s.Derive(t.Context()); !errors.Is(err, wire.ErrTPM) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if f.codes[len(f.codes)-1] != wire.CCFlushContext {
		t.Errorf("commands %x", f.codes)
	}
}

func TestATPMThatNeverFinishesAListIsLeft(t *testing.T) {
	f := &fake{respond: func(uint32, int) []byte {
		return response(tagNoSessions, 1, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0) // more data; one property, the same again
	}}
	s := NewSession(f, "", "")
	properties, err := s.properties(t.Context())
	if err != nil || len(f.codes) > 2*maxCapability {
		t.Errorf("%v, %d properties after %d commands", err, len(properties), len(f.codes))
	}
}

func TestFindTakesWhatTbotTakes(t *testing.T) {
	tests := []struct {
		name  string
		files []string // "sys/…" and "dev/…"
		want  string
		found string
		err   error
	}{
		{"a 2.0 chip with a resource manager", []string{"sys/tpm0/device/tpmrm/tpmrm0/dev"}, "dev/tpmrm0", wire.FoundSysfs, nil},
		{"a 2.0 chip without one", []string{"sys/tpm0/dev"}, "dev/tpm0", wire.FoundSysfs, nil},
		{"a 1.2 chip before a 2.0 chip", []string{"sys/tpm0/caps", "sys/tpm1/device/tpmrm/tpmrm1/dev"}, "dev/tpmrm1", wire.FoundSysfs, nil},
		{"two 2.0 chips", []string{"sys/tpm0/dev", "sys/tpm1/device/tpmrm/tpmrm1/dev"}, "dev/tpm0", wire.FoundSysfs, nil},
		{"a 1.2 chip alone", []string{"sys/tpm0/caps", "dev/tpm0"}, "", "", wire.ErrTPM12},
		{"devices without sysfs", []string{"dev/tpm0", "dev/tpmrm0"}, "dev/tpmrm0", wire.FoundDev, nil},
		{"a device without a resource manager, without sysfs", []string{"dev/tpm0"}, "dev/tpm0", wire.FoundDev, nil},
		{"nothing", nil, "", "", wire.ErrNoTPM},
		{"an empty class", []string{"sys/other"}, "", "", wire.ErrNoTPM},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for _, file := range test.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			path, found, err := Finder{Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev")}.Find()
			want := test.want
			if want != "" {
				want = filepath.Join(root, want)
			}
			if path != want || err == nil && found != test.found || !errors.Is(err, test.err) {
				t.Errorf("got %s, %s, %v", path, found, err)
			}
		})
	}
}

// Whatever a TPM answers: no panic, no endless loop, every handle flushed.
func FuzzResponses(f *testing.F) {
	f.Add(response(tagNoSessions, 0, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 1, 5, 'I', 'F', 'X', 0), []byte{0x80, 0, 0, 1, 0, 0, 0, 4, 0, 2, 1, 2})
	f.Add(codeOnly(wire.RC1Handle), []byte{})
	f.Fuzz(func(t *testing.T, first, other []byte) {
		made, flushed := 0, 0
		tpm := &fake{respond: func(code uint32, n int) []byte {
			switch {
			case code == wire.CCFlushContext:
				flushed++
				return response(tagNoSessions)
			case n%3 == 0 && len(first) >= 10:
				return first
			}
			if creates(code) && len(other) >= 4 {
				made++
			}
			return response(tagSessions, other...)
		}}
		everything(t, tpm)
		if flushed < made {
			t.Errorf("%d handles made, %d flushed", made, flushed)
		}
	})
}

func everything(t *testing.T, tpm TPM) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*retryFirst) // TPM_RC_RETRY is among what the fuzzer finds
	defer cancel()
	s := NewSession(tpm, "", "")
	if raw, err := s.Read(ctx, wire.ReadOptions{Object: true}); err == nil {
		if _, err := wire.ParseRaw(wire.AppendRaw(nil, raw)); err != nil && len(wire.AppendRaw(nil, raw)) < 8<<10 {
			t.Errorf("the controller refuses what was read: %v", err)
		}
	}
	if d, err := s.Derive(ctx); err == nil {
		_, _, _ = RSAKey(d.Key.Public)
	}
	_, _ = s.Activate(ctx, wire.Challenge{Key: wire.KeyDerived})
	_ = s.Close()
}
