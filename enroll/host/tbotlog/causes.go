package tbotlog

import (
	"fleetctl/enroll/outcome"
	"regexp"
	"strings"
)

// Cause is why a tbot failed.
type Cause struct {
	Code    outcome.Code
	Message string
	Path    string // the file or directory that it is about; may be ""
}

// knownCause is a known way in which tbot fails.
type knownCause struct {
	code    outcome.Code
	says    *regexp.Regexp // in a record; its first group is the path that it is about
	message string         // $0 is what says matched
	warns   bool           // a warning says it, too
	last    bool           // only where nothing else says more
}

// says matches words as tbot, Teleport's server and the kernel have them, in upper or lower case.
func says(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?i)` + pattern) }

// knownCauses go from special to general: of a whole record, the first counts. Each is looked for in errors alone, so that
// it may be a few words; where these could stand in another error, there are more of them. Where they are from: the texts of
// lib/tpm/validate.go@52a41f12, lib/join/tpmjoin/tpm.go@333f2322, lib/tbot/internal/identity/service.go@b2dd8891,
// lib/tbot/bot/destination/directory.go@12f28f2b, lib/tbot/config/config.go@018e587b, lib/utils/cli.go@c962edff.
var knownCauses = [...]knownCause{
	// What the server says of the host, which tbot repeats.
	{code: outcome.NeedsEnterprise, says: says(`requires? (a )?teleport enterprise|enterprise licen[sc]e`),
		message: "the cluster refuses: the tpm join method requires an Enterprise licence"},
	{code: outcome.NoRule, says: says(`(did not|does not|doesn't) match any allow rule`),
		message: "the token has no rule for this TPM's hash"},
	{code: outcome.Locked, says: says(`\block targeting\b`),
		message: "the cluster holds a lock on the bot or on this host"},
	{code: outcome.NoEKCert, says: says(`did not provide an ek ?cert`),
		message: "the token checks EK certificates, and the TPM presents none"},
	{code: outcome.EKCertExpired, says: says(`(verifying|validating) ek ?cert.*(has expired|not yet valid)`),
		message: "the cluster doesn't accept the TPM's EK certificate: it is not valid at this time"},
	{code: outcome.FindingEKCertKeyUnreadable, says: says(`unsupported public key type|unknown public key algorithm`),
		message: "nobody can read the key in the TPM's EK certificate"},
	{code: outcome.EKCertRefused, says: says(`(verifying|validating) ek ?cert`),
		message: "the cluster doesn't accept the TPM's EK certificate (CA check)"},
	{code: outcome.TokenMissing,
		says: says(`token expired or not found|can not join the cluster with role|provisioning token\S* not found|` +
			`token "[^"]*" (not found|does not exist|expired)`),
		message: "the cluster doesn't know the token"},

	// The TPM.
	{code: outcome.TPMPermission, says: says(`/dev/tpm\w*:? (permission denied|operation not permitted)`),
		message: "tbot may not open the TPM device: permission denied"},
	{code: outcome.TPMBusy, says: says(`/dev/tpm\w*:? (device or resource busy|text file busy)`),
		message: "another program holds the TPM"},
	{code: outcome.TPMLockout, says: says(`\b(tpm_rc_)?lockout\b`),
		message: "the TPM is in lockout"},
	{code: outcome.ActivationFailed, says: says(`credential activation|activat\w* credential`),
		message: "the TPM could not prove its EK to the cluster"},
	{code: outcome.EKUnreadable, says: says(`no endorsement keys found in tpm`),
		message: "the TPM presents no endorsement key that tbot could use"},
	{code: outcome.NoTPM, says: says(`tpm device not available|/dev/tpm\w*:? no such (file or directory|device)|\bno tpm\b`),
		message: "tbot finds no TPM"},

	// The host.
	{code: outcome.StorageInUse, says: says(`failed to acquire exclusive lock for tbot destination directory`),
		message: "another tbot holds the storage"},
	{code: outcome.StorageDenied, says: says(`teleport does not have permission to (?:access|write to):? (/[^\s:]*[^\s:.])`),
		message: "tbot may not use its storage"},
	{code: outcome.AddressInUse, says: says(`(?:listen \S+ \S+: )?bind: address already in use`),
		message: "tbot can't listen: an address is taken ($0)"},
	{code: outcome.StorageLink, says: says(`(?:/\S+ )?too many levels of symbolic links|path contains symlinks`),
		message: "tbot refuses a symbolic link on the way to its storage or to an output: $0"},
	{code: outcome.ExecFailed, says: says(`exec format error`),
		message: "tbot can't be executed: it is of another architecture, or damaged (exec format error)"},
	{code: outcome.ExecFailed,
		says:    says(`(?:failed at step exec spawning|(?:failed|unable) to (?:locate executable|execute))[^:]*(?:: [a-z ]+)?`),
		message: "systemd can't execute tbot: $0"},
	{code: outcome.ExecFailed, says: says(`status=203/exec`), last: true,
		message: "systemd can't execute tbot (status=203/EXEC)"},
	{code: outcome.ServiceFailed, says: says(`failed at step [a-z_]+ spawning [^:]*: [a-z ]+`),
		message: "systemd can't start tbot: $0"},
	{code: outcome.NoSpace, says: says(`no space left`),
		message: "no space left on the host"},

	// The unit and the configuration.
	{code: outcome.RolesRefused, says: says(`the roles field is no longer supported`),
		message: "tbot refuses a service with roles"},
	{code: outcome.UnknownFlag, says: says(`unknown (long|short) flag '[^']*'`),
		message: "tbot doesn't know a flag that it is started with: $0"},
	{code: outcome.BadConfig,
		says: says(`field \S+ not found in type \S+|unrecognized \S+ type \S+|yaml: \S.*|duplicate name: \S+|` +
			`either a proxy or auth address must be set|no existing identity found on disk or join token configured|` +
			`credential_ttl and renewal_interval must both be specified|fips mode enabled but binary|` +
			`service type \S+ is not supported in scoped mode|failed parsing config file|validating (service\[\d+\]|\S* ?bot config)`),
		message: "tbot refuses its configuration: $0"},

	// The way to the cluster.
	{code: outcome.ClockOff, says: says(`confirm that the system time is correct|current time \S+ is before`),
		message: "a certificate is not valid yet at the host's time", warns: true},
	{code: outcome.ClusterCertificate, says: says(`certificate (has expired|presented by the proxy is invalid)`),
		message: "the cluster's certificate is not valid at the host's time"},
	{code: outcome.ClusterCertificate,
		says: says(`signed by (a: )?unknown authority|the proxy you are connecting to has presented a certificate|` +
			`cannot establish https connection to|x509:`),
		message: "tbot doesn't trust the cluster's certificate"},
	{code: outcome.ClusterUnreachable,
		says: says(`connection refused|no such host|i/o timeout|no route to host|network is unreachable|connection reset|` +
			`failed (direct )?dial to auth server|unable to communicate with the teleport auth service`),
		message: "tbot can't reach the cluster"},

	// What is left.
	{code: outcome.PermissionDenied, says: says(`permission denied|read-only file system|acls were marked as required`),
		message: "tbot may not read or write something"},
	{code: outcome.AccessDenied, says: says(`access denied`),
		message: "the cluster refuses"},
}

// causeOf finds the cause that a record names; nil for none. last: of those that say the least.
func causeOf(r record, last bool) *Cause {
	for i := range knownCauses {
		k := &knownCauses[i]
		at := k.says.FindStringSubmatchIndex(r.text)
		if at == nil || k.last != last || r.severity == warning && !k.warns {
			continue
		}
		c := &Cause{Code: k.code, Message: strings.ReplaceAll(k.message, "$0", r.text[at[0]:at[1]])}
		if k.code == outcome.StorageDenied {
			c.Path = r.text[at[2]:at[3]]
		}
		return c
	}
	return nil
}
