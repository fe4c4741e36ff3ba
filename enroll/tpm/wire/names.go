package wire

// Response codes (TPM 2.0 Part 2, section 6.6.3) that the code decides by.
const (
	RCInitialize = 0x100
	RCFailure    = 0x101
	RCAuthType   = 0x124
	RCYielded    = 0x908
	RCTesting    = 0x90A
	RCRetry      = 0x922
	RCNVRate     = 0x920
	RCLockout    = 0x921
	RCNVUnavail  = 0x923

	// What a TPM 1.2 answers to a command of 2.0 (TPM Main Part 2, section 16).
	RC12BadParameter = 0x03
	RC12BadOrdinal   = 0x0A
	RC12BadTag       = 0x1E
)

// Format-one codes: the number without the handle, parameter or session that it belongs to.
const (
	fmt1 = 0x080

	RC1Handle    = fmt1 + 0x0B
	RC1Hierarchy = fmt1 + 0x05
	RC1Integrity = fmt1 + 0x1F
	RC1Value     = fmt1 + 0x04
	RC1AuthFail  = fmt1 + 0x0E
	RC1BadAuth   = fmt1 + 0x22
	RC1Policy    = fmt1 + 0x1D
	RC1Attribute = fmt1 + 0x02
	RC1Type      = fmt1 + 0x0A
	RC1Size      = fmt1 + 0x15
	RC1Curve     = fmt1 + 0x26
	RC1Point     = fmt1 + 0x27
)

// BaseCode takes the handle, parameter or session number out of a format-one code.
func BaseCode(code uint32) uint32 {
	if code&fmt1 != 0 && code&^uint32(0xFFF) == 0 {
		return code & (fmt1 | 0x3F)
	}
	return code
}

// Commands (TPM 2.0 Part 2, section 6.5.2).
const (
	CCCreatePrimary      = 0x131
	CCActivateCredential = 0x147
	CCNVRead             = 0x14E
	CCPolicySecret       = 0x151
	CCFlushContext       = 0x165
	CCNVReadPublic       = 0x169
	CCReadPublic         = 0x173
	CCStartAuthSession   = 0x176
	CCGetCapability      = 0x17A
	CCHash               = 0x17D
)

// CommandName is the name of a command in the TCG's words.
func CommandName(cc uint32) string {
	switch cc {
	case CCCreatePrimary:
		return "TPM2_CreatePrimary"
	case CCActivateCredential:
		return "TPM2_ActivateCredential"
	case CCNVRead:
		return "TPM2_NV_Read"
	case CCPolicySecret:
		return "TPM2_PolicySecret"
	case CCFlushContext:
		return "TPM2_FlushContext"
	case CCNVReadPublic:
		return "TPM2_NV_ReadPublic"
	case CCReadPublic:
		return "TPM2_ReadPublic"
	case CCStartAuthSession:
		return "TPM2_StartAuthSession"
	case CCGetCapability:
		return "TPM2_GetCapability"
	case CCHash:
		return "TPM2_Hash"
	}
	return "TPM command " + Hex32(cc)
}

// CodeName is the name of a response code where it is one that hosts really give, with the number.
func CodeName(code uint32) string {
	name := codeName(BaseCode(code))
	if name == "" {
		return "response code " + Hex32(code)
	}
	return name + " (" + Hex32(code) + ")"
}

func codeName(base uint32) string {
	switch base {
	case RCInitialize:
		return "TPM_RC_INITIALIZE"
	case RCFailure:
		return "TPM_RC_FAILURE"
	case RCAuthType:
		return "TPM_RC_AUTH_TYPE"
	case 0x120:
		return "TPM_RC_DISABLED"
	case 0x12F:
		return "TPM_RC_AUTH_UNAVAILABLE"
	case 0x143:
		return "TPM_RC_COMMAND_CODE"
	case 0x148:
		return "TPM_RC_NV_LOCKED"
	case 0x149:
		return "TPM_RC_NV_AUTHORIZATION"
	case 0x14A:
		return "TPM_RC_NV_UNINITIALIZED"
	case 0x902:
		return "TPM_RC_OBJECT_MEMORY"
	case 0x903:
		return "TPM_RC_SESSION_MEMORY"
	case 0x904:
		return "TPM_RC_MEMORY"
	case 0x905:
		return "TPM_RC_SESSION_HANDLES"
	case RCYielded:
		return "TPM_RC_YIELDED"
	case RCTesting:
		return "TPM_RC_TESTING"
	case RCRetry:
		return "TPM_RC_RETRY"
	case RCNVRate:
		return "TPM_RC_NV_RATE"
	case RCLockout:
		return "TPM_RC_LOCKOUT"
	case RCNVUnavail:
		return "TPM_RC_NV_UNAVAILABLE"
	}
	return formatOneName(base)
}

func formatOneName(base uint32) string {
	switch base {
	case RC1Attribute:
		return "TPM_RC_ATTRIBUTES"
	case RC1Value:
		return "TPM_RC_VALUE"
	case RC1Hierarchy:
		return "TPM_RC_HIERARCHY"
	case RC1Type:
		return "TPM_RC_TYPE"
	case RC1Handle:
		return "TPM_RC_HANDLE"
	case RC1AuthFail:
		return "TPM_RC_AUTH_FAIL"
	case RC1Size:
		return "TPM_RC_SIZE"
	case RC1Policy:
		return "TPM_RC_POLICY_FAIL"
	case RC1Integrity:
		return "TPM_RC_INTEGRITY"
	case RC1BadAuth:
		return "TPM_RC_BAD_AUTH"
	case RC1Curve:
		return "TPM_RC_CURVE"
	case RC1Point:
		return "TPM_RC_ECC_POINT"
	}
	return ""
}

// Hex32 is "0x" and the digits, lower case, without leading zeros.
func Hex32(v uint32) string {
	const digits = "0123456789abcdef"
	out := []byte{}
	for shift := 28; shift >= 0; shift -= 4 {
		d := v >> shift & 0xF
		if d != 0 || len(out) > 0 || shift == 0 {
			out = append(out, digits[d])
		}
	}
	return "0x" + string(out)
}
