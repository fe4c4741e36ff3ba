// Package held reads what a TPM holds, so that a test can say that nothing was left in it.
package held

import (
	"fmt"
	"reflect"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Contents is everything that a scan or a join must not change: the handles of each kind (TPM 2.0 Part 2, section 7.2),
// and the counter that a failed authorization would move.
type Contents struct {
	NV         []uint32 `json:"nv"`
	Persistent []uint32 `json:"persistent"`
	Transient  []uint32 `json:"transient"`
	Loaded     []uint32 `json:"loaded"` // sessions in the TPM's memory
	Saved      []uint32 `json:"saved"`  // sessions that the TPM knows, saved by somebody outside it
	Lockout    uint32   `json:"lockout"`
}

// Equal tells whether both are the same.
func (c Contents) Equal(other Contents) bool { return reflect.DeepEqual(c, other) }

// Lasting is the part that outlives whoever uses the TPM.
func (c Contents) Lasting() Contents {
	return Contents{NV: c.NV, Persistent: c.Persistent, Lockout: c.Lockout}
}

// Read reads what the TPM holds. Through a resource manager's device it sees only what that shows.
func Read(tpm transport.TPM) (Contents, error) {
	var c Contents
	for _, kind := range []struct {
		first uint32
		to    *[]uint32
	}{
		{0x01000000, &c.NV}, {0x81000000, &c.Persistent}, {0x80000000, &c.Transient}, {0x02000000, &c.Loaded}, {0x03000000, &c.Saved},
	} {
		var err error
		if *kind.to, err = handles(tpm, kind.first); err != nil {
			return c, fmt.Errorf("handles from %#x on: %w", kind.first, err)
		}
	}
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTLockoutCounter), PropertyCount: 1,
	}.Execute(tpm)
	if err != nil {
		return c, err
	}
	properties, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil || len(properties.TPMProperty) != 1 {
		return c, fmt.Errorf("lockout counter: %v, %w", properties, err)
	}
	c.Lockout = properties.TPMProperty[0].Value
	return c, nil
}

func handles(tpm transport.TPM, first uint32) ([]uint32, error) {
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 256}.Execute(tpm)
	if err != nil {
		return nil, err
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		return nil, err
	}
	var all []uint32
	for _, h := range list.Handle {
		all = append(all, uint32(h))
	}
	return all, nil
}

// Flush flushes objects and sessions, as a resource manager does for a user that is gone.
func Flush(tpm transport.TPM) error {
	c, err := Read(tpm)
	if err != nil {
		return err
	}
	for _, h := range append(c.Transient, c.Loaded...) {
		if _, err := (tpm2.FlushContext{FlushHandle: tpm2.TPMHandle(h)}).Execute(tpm); err != nil {
			return fmt.Errorf("flush %#x: %w", h, err)
		}
	}
	return nil
}
