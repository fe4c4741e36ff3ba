package tpm_test

import (
	"reflect"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// contents is everything that a TPM holds and that a scan must not change: handles of all kinds, and the counters that a
// failed authorization would move.
type contents struct {
	Handles map[string][]uint32
	Lockout uint32
}

func (e *emulator) contents(t testing.TB) contents {
	t.Helper()
	c := contents{Handles: map[string][]uint32{}}
	kinds := map[string]uint32{
		"transient": 0x80000000, "persistent": 0x81000000, "NV": 0x01000000,
		"loaded session": 0x02000000, "saved session": 0x03000000,
	}
	e.with(t, func(tpm transport.TPM) {
		for kind, first := range kinds {
			rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 256}.Execute(tpm)
			if err != nil {
				t.Fatal(err)
			}
			handles, err := rsp.CapabilityData.Data.Handles()
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range handles.Handle {
				c.Handles[kind] = append(c.Handles[kind], uint32(h))
			}
		}
		c.Lockout = property(t, tpm, tpm2.TPMPTLockoutCounter)
	})
	return c
}

func property(t testing.TB, tpm transport.TPM, tag tpm2.TPMPT) uint32 {
	t.Helper()
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(tag), PropertyCount: 1}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	properties, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil {
		t.Fatal(err)
	}
	return properties.TPMProperty[0].Value
}

// unchanged checks that the TPM holds what it held.
func (e *emulator) unchanged(t testing.TB, before contents) {
	t.Helper()
	if after := e.contents(t); !reflect.DeepEqual(before, after) {
		t.Errorf("the TPM holds %+v, before it held %+v", after, before)
	}
}
