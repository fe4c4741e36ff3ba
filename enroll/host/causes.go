package host

import (
	"regexp"

	"fleetctl/enroll/outcome"
)

// causeOfFailure is a known way in which tbot fails.
type causeOfFailure struct {
	says    *regexp.Regexp // in the journal
	code    outcome.Code
	message string
}

// knownCauses go from special to general. The words are those of tbot, of Teleport's server (which tbot repeats), and
// of the kernel's errors.
var knownCauses = [...]causeOfFailure{
	{
		regexp.MustCompile(`(?i)requires? (a )?teleport enterprise|enterprise (license|licence|only|feature)`),
		outcome.NeedsEnterprise, "the cluster refuses: the tpm join method requires an Enterprise licence",
	},
	{
		regexp.MustCompile(`(?i)(did not|does not|doesn't) match any allow rule|no (matching )?(allow )?rule|` +
			`not match any allow`),
		outcome.NoRule, "the token has no rule for this TPM's hash",
	},
	{
		regexp.MustCompile(`(?i)\block targeting\b`),
		outcome.Locked, "the cluster holds a lock on the bot or on this host",
	},
	{
		regexp.MustCompile(`(?i)ek ?cert.*(unknown authority|verif|validat|expired|allowed)`),
		outcome.EKCertRefused, "the cluster doesn't accept the TPM's EK certificate (CA check)",
	},
	{
		regexp.MustCompile(`(?i)token.*(not found|expired|does not exist)`),
		outcome.TokenMissing, "the cluster doesn't know the token",
	},
	{
		regexp.MustCompile(`(?i)(tpm[^:]*|/dev/tpm\S*):? .*permission denied|permission denied.*tpm`),
		outcome.TPMPermission, "tbot may not open the TPM device: permission denied",
	},
	{
		regexp.MustCompile(`(?i)device or resource busy|tpm.*\bbusy\b`),
		outcome.TPMBusy, "another program holds the TPM",
	},
	{
		regexp.MustCompile(`(?i)lockout`),
		outcome.TPMLockout, "the TPM is in lockout",
	},
	{
		regexp.MustCompile(`(?i)activat\w* credential|credential activation`),
		outcome.ActivationFailed, "the TPM could not prove its EK to the cluster",
	},
	{
		regexp.MustCompile(`(?i)no such (file or directory|device).*tpm|tpm.*(no such (file|device)|not found)|` +
			`no tpm`),
		outcome.NoTPM, "tbot finds no TPM",
	},
	{
		regexp.MustCompile(`(?i)not yet valid|certificate has expired`),
		outcome.ClockOff, "a certificate is not valid at the host's time",
	},
	{
		regexp.MustCompile(`(?i)address already in use`),
		outcome.AddressInUse, "an address that tbot shall listen on is taken",
	},
	{
		regexp.MustCompile(`(?i)field \S+ not found|unmarshal|unrecognized|unknown (key|field|service)|` +
			`validating \S* ?bot config|parsing (config|yaml)|invalid config|unsupported version`),
		outcome.BadConfig, "tbot refuses its configuration",
	},
	{
		regexp.MustCompile(`(?i)connection refused|no such host|i/o timeout|no route to host|` +
			`network is unreachable|connection reset`),
		outcome.ClusterUnreachable, "tbot can't reach the cluster",
	},
	{
		regexp.MustCompile(`(?i)certificate signed by unknown authority|x509:`),
		outcome.ClusterCertificate, "tbot doesn't trust the cluster's certificate",
	},
	{
		regexp.MustCompile(`(?i)permission denied|read-only file system`),
		outcome.PermissionDenied, "tbot may not read or write something",
	},
	{
		regexp.MustCompile(`(?i)no space left`),
		outcome.NoSpace, "no space left on the host",
	},
	{
		regexp.MustCompile(`(?i)access denied`),
		outcome.AccessDenied, "the cluster refuses",
	},
}

// causeIn finds the cause that a line of the journal names; nil for none.
func causeIn(line string) *causeOfFailure {
	for i := range knownCauses {
		if knownCauses[i].says.MatchString(line) {
			return &knownCauses[i]
		}
	}
	return nil
}
