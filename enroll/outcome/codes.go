package outcome

// All codes; Codes says what each means.
const (
	// How a run ended for a host.
	WasCanceled    Code = "canceled"
	General        Code = "error"
	InventoryError Code = "inventory-error"
	HostKeyChanged Code = "host-key-changed"
	HostKeyRevoked Code = "host-key-revoked"
	HostKeyUnknown Code = "host-key-unknown"
	AuthFailed     Code = "auth-failed"
	SSHConfig      Code = "ssh-config"
	BecomeFailed   Code = "become-failed"
	NoExecDir      Code = "no-exec-dir"
	NoHelper       Code = "no-helper"
	NoSpace        Code = "no-space"
	BadOutput      Code = "bad-output"
	Timeout        Code = "timeout"
	Disconnected   Code = "disconnected"
	ConnectFailed  Code = "connect-failed"
	NotRecorded    Code = "not-recorded"
	BadInput       Code = "bad-input"

	// What a TPM is like.
	NoTPM         Code = "no-tpm"
	TPM12         Code = "tpm-1.2"
	TPMPermission Code = "tpm-permission"
	TPMBusy       Code = "tpm-busy"
	TPMLockout    Code = "tpm-lockout"
	TPMError      Code = "tpm-error"
	EKUnreadable  Code = "ek-unreadable"
	Unproven      Code = "unproven"
	ChangedEK     Code = "changed-ek"
	DuplicateEK   Code = "duplicate-ek"
	NoEKCert      Code = "no-ekcert"
	TooLarge      Code = "too-large"

	// What stands in the way of a tbot.
	NoTbot         Code = "no-tbot"
	TbotFailed     Code = "tbot-failed"
	TbotDiffers    Code = "tbot-differs"
	TbotTooOld     Code = "tbot-too-old"
	TbotManaged    Code = "tbot-managed"
	NoPackage      Code = "no-package"
	WrongPackage   Code = "wrong-package"
	InstallerNeeds Code = "installer-needs"
	InstallFailed  Code = "install-failed"
	NoToken        Code = "no-token"
	NotOurs        Code = "not-ours"
	NotAFile       Code = "not-a-file"
	BadTemplate    Code = "bad-template"
	StorageLink    Code = "storage-link"
	StorageNotDir  Code = "storage-not-dir"
	StorageDenied  Code = "storage-denied"
	UnitMasked     Code = "unit-masked"
	Hook           Code = "hook"
	NotStarted     Code = "not-started"
	StepFailed     Code = "step-failed"
	NoSystemd      Code = "no-systemd"

	// Why a tbot has not joined.
	NotJoined          Code = "not-joined"
	ServiceFailed      Code = "service-failed"
	JoinUnknown        Code = "join-unknown"
	NeedsEnterprise    Code = "needs-enterprise"
	NoRule             Code = "no-rule"
	Locked             Code = "locked"
	EKCertRefused      Code = "ekcert-refused"
	TokenMissing       Code = "token-missing"
	ActivationFailed   Code = "activation-failed"
	ClockOff           Code = "clock"
	AddressInUse       Code = "address-in-use"
	BadConfig          Code = "bad-config"
	ClusterUnreachable Code = "cluster-unreachable"
	ClusterCertificate Code = "cluster-certificate"
	PermissionDenied   Code = "permission"
	AccessDenied       Code = "access-denied"

	// Why tctl fails.
	TctlDenied  Code = "tctl-denied"
	MFARequired Code = "mfa-required"

	// Warnings of a host that may do well all the same.
	AskedThroughShell          Code = "asked-through-shell"
	VersionSkew                Code = "version-skew"
	JoinUnconfirmed            Code = "join-unconfirmed"
	FindingEKCertUnparseable   Code = "ekcert-unparseable"
	FindingEKCertUnreadable    Code = "ekcert-unreadable"
	FindingEKCertKeyUnreadable Code = "ekcert-key-unreadable"
	FindingEKCertMismatch      Code = "ekcert-mismatch"
	FindingIssuerUnknown       Code = "issuer-unknown"
	FindingIssuerRefused       Code = "issuer-refused"
	FindingSignature           Code = "ekcert-signature"
	FindingCriticalExtension   Code = "ekcert-critical-extension"
	FindingROCA                Code = "roca"
	FindingChain               Code = "chain"
	FindingEKParameters        Code = "ek-parameters"
	FindingEKHandle            Code = "ek-handle"
	FindingSRK                 Code = "srk"
	FindingOwnerAuth           Code = "owner-auth"
	FindingOwnerDisabled       Code = "owner-disabled"
	FindingEndorsementAuth     Code = "endorsement-auth"
	FindingEndorsementDisabled Code = "endorsement-disabled"
	FindingLockout             Code = "lockout"

	// States of a record.
	StateAccepted   Code = "accepted"
	StateNoIdentity Code = "no-identity"

	// States of a host, from bad to good.
	StateUnreachable Code = "unreachable"
	StateBroken      Code = "broken"
	StateNotEnrolled Code = "not-enrolled"
	StateUnfinished  Code = "unfinished"
	StateUnhealthy   Code = "unhealthy"
	StateNeverJoined Code = "never-joined"
	StateDrifted     Code = "drifted"
	StateHealthy     Code = "healthy"
)

// Code is a stable word for why something is as it is ("host-key-changed", "no-tpm", "changed-ek"). All codes stand in
// one list: Codes.
type Code string
