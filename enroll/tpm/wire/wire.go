// Package wire is what the helper on the host and the controller say to each other: the raw facts of a TPM, the
// reasons why there are none, and the frames that carry them. The helper is pushed to every host, so that this package
// imports next to nothing: no reflection, no fmt, no encoding packages.
package wire

import (
	"errors"
	"strings"
	"time"
)

// Why a TPM cannot be used. They survive the protocol: errors.Is works on the controller.
var (
	ErrNoTPM      = errors.New("no TPM")                    // no chip in sysfs and no device
	ErrTPM12      = errors.New("TPM 1.2 only")              // tbot needs 2.0
	ErrPermission = errors.New("TPM device: no permission") // become root
	ErrBusy       = errors.New("TPM is in use")             // EBUSY, or TPM_RC_RETRY for too long
	ErrLockout    = errors.New("TPM is in lockout")         // TPM_RC_LOCKOUT
	ErrTPM        = errors.New("TPM failed")                // any other failure of the TPM or its driver
	ErrProtocol   = errors.New("helper protocol")           // version, framing, size, encoding
)

// Handles and NV indices that make up a TPM's identity (TCG "Registry of Reserved TPM 2.0 Handles and Localities" and
// "EK Credential Profile", section 2.2).
const (
	IndexEKCert     = 0x01C00002 // RSA-2048 EK certificate
	IndexEKNonce    = 0x01C00003 // nonce for the unique field of the EK template
	IndexEKTemplate = 0x01C00004 // EK template; tbot ignores it
	IndexECCEKCert  = 0x01C0000A // ECC P-256 EK certificate; tbot ignores it
	HandleEK        = 0x81010001 // persistent RSA-2048 EK
	HandleSRK       = 0x81000001 // persistent storage root key
)

// Where a device was found.
const (
	FoundSysfs  = "sysfs"  // as tbot finds it: the first 2.0 chip in /sys/class/tpm
	FoundDev    = "dev"    // not in sysfs, but /dev/tpmrm0 or /dev/tpm0 is there (containers)
	FoundOption = "option" // -device
	FoundRemote = "remote" // the controller was handed a transport
)

// Raw is what was read from a TPM, unjudged. Everything in it is the host's word.
type Raw struct {
	Device     string     // "/dev/tpmrm0"
	Found      string     // one of the Found constants
	Hostname   string     // what the host calls itself
	Properties []Property // TPM_PT_FIXED and TPM_PT_VAR (TPM 2.0 Part 2, section 6.13)
	NVIndices  []uint32   // the NV indices that are defined
	Persistent []uint32   // handles of persistent objects
	EKCert     Area       // NV index 0x01C00002, authorised by the index itself
	EK         Key        // the key at 0x81010001
	SRK        Key        // the key at 0x81000001
	Derived    Derived    // the EK made from the default template, where it was asked for
	Object     Key        // ECC primary of the null hierarchy, where it was asked for: what a proof activates
	Timings    []Timing   // every TPM command, in order
}

// Property is one TPM property.
type Property struct{ Tag, Value uint32 }

// Area is the content of one NV index.
type Area struct {
	Code       uint32 // TPM response code of the command that failed; 0: Data is whole
	Defined    bool   // TPM2_NV_ReadPublic found the index
	Attributes uint32 // TPMA_NV, where Defined
	Data       []byte
}

// Key is the public part of one key in the TPM.
type Key struct {
	Code   uint32 // TPM response code of the command that failed
	Public []byte // TPMT_PUBLIC; empty: no such key
	Name   []byte // as the TPM computed it
}

// Derived is the EK that tbot derives where there is no certificate: TPM2_CreatePrimary in the endorsement hierarchy
// with template L-1 (EK Credential Profile, section B.3.3) and the nonce in unique.
type Derived struct {
	Nonce Area // NV index 0x01C00003, authorised by the owner
	Key   Key
}

// Timing is what one TPM command took on the host.
type Timing struct {
	Command uint32 // TPM_CC
	Took    time.Duration
}

// Which EK a Challenge is for.
const (
	KeyPersistent = 1 // the one at 0x81010001
	KeyDerived    = 2 // the one that Derive made, or makes again
)

// Challenge is what TPM2_ActivateCredential takes (TPM 2.0 Part 3, section 12.5).
type Challenge struct {
	Key       uint8  // KeyPersistent or KeyDerived
	ObjectID  []byte // content of TPM2B_ID_OBJECT
	Encrypted []byte // content of TPM2B_ENCRYPTED_SECRET
}

// Answer is what came back for a Challenge.
type Answer struct {
	Secret  []byte
	Timings []Timing
}

// CommandError says which TPM command failed and how.
type CommandError struct {
	Command uint32 // TPM_CC
	Code    uint32 // TPM_RC
}

func (e *CommandError) Error() string {
	return CommandName(e.Command) + ": " + CodeName(e.Code)
}

// Is makes a response code one of the sentinels.
func (e *CommandError) Is(target error) bool {
	switch e.Code {
	case RCLockout:
		return target == ErrLockout
	case RCRetry, RCYielded, RCTesting:
		return target == ErrBusy
	case RC12BadTag, RC12BadOrdinal, RC12BadParameter:
		return target == ErrTPM12
	}
	return target == ErrTPM
}

// Error is one of the sentinels with what happened in detail.
type Error struct {
	Kind   error
	Detail string // free of control characters, at most MaxDetail bytes
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Kind.Error()
	}
	return e.Kind.Error() + ": " + e.Detail
}

// Unwrap gives the sentinel.
func (e *Error) Unwrap() error { return e.Kind }

// MaxDetail bounds the detail of an Error, in bytes.
const MaxDetail = 512

// NewError makes an Error of parts that are joined.
func NewError(kind error, parts ...string) error {
	return &Error{Kind: kind, Detail: Printable(strings.Join(parts, ""), MaxDetail)}
}

// Printable replaces what is not printable ASCII by "?" and cuts after limit bytes: what comes from a host never
// reaches a terminal as it is.
func Printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	out := []byte(s)
	for i, c := range out {
		if c < 0x20 || c > 0x7e {
			out[i] = '?'
		}
	}
	return string(out)
}
