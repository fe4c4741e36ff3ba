package enroll

import "regexp"

// causeOfFailure is a known way in which tbot fails.
type causeOfFailure struct {
	says   *regexp.Regexp // in the journal
	reason Reason
}

// knownCauses go from special to general. The words are those of tbot, of Teleport's server (which tbot repeats), and
// of the kernel's errors.
var knownCauses = [...]causeOfFailure{
	{
		regexp.MustCompile(`(?i)requires? (a )?teleport enterprise|enterprise (license|licence|only|feature)`),
		Reason{NeedsEnterprise, "the cluster refuses: the tpm join method requires an Enterprise licence",
			"ask tctl status which edition the cluster runs"},
	},
	{
		regexp.MustCompile(`(?i)(did not|does not|doesn't) match any allow rule|no (matching )?(allow )?rule|` +
			`not match any allow`),
		Reason{NoRule, "the token has no rule for this TPM's hash",
			"fleetctl tokens --diff shows what the cluster has; scan the host again if its TPM changed"},
	},
	{
		regexp.MustCompile(`(?i)\block targeting\b`),
		Reason{Locked, "the cluster holds a lock on the bot or on this host",
			"tctl get locks shows it; tctl rm lock/NAME ends it"},
	},
	{
		regexp.MustCompile(`(?i)ek ?cert.*(unknown authority|verif|validat|expired|allowed)`),
		Reason{EKCertRefused, "the cluster doesn't accept the TPM's EK certificate (CA check)",
			"the token needs the certificate that directly issued it: fleetctl records --issuers"},
	},
	{
		regexp.MustCompile(`(?i)token.*(not found|expired|does not exist)`),
		Reason{TokenMissing, "the cluster doesn't know the token",
			"fleetctl tokens --apply"},
	},
	{
		regexp.MustCompile(`(?i)(tpm[^:]*|/dev/tpm\S*):? .*permission denied|permission denied.*tpm`),
		Reason{TPMPermission, "tbot may not open the TPM device: permission denied",
			"is its user in the group tss, and does the device belong to it? SELinux and AppArmor " +
				"can refuse, too"},
	},
	{
		regexp.MustCompile(`(?i)device or resource busy|tpm.*\bbusy\b`),
		Reason{TPMBusy, "another program holds the TPM",
			"look for it with fuser /dev/tpm0 /dev/tpmrm0"},
	},
	{
		regexp.MustCompile(`(?i)lockout`),
		Reason{TPMLockout, "the TPM is in lockout",
			"wait until it has passed, or clear it: tpm2_dictionarylockout -c"},
	},
	{
		regexp.MustCompile(`(?i)activat\w* credential|credential activation`),
		Reason{ActivationFailed, "the TPM could not prove its EK to the cluster",
			"scan the host: it says what is wrong with its TPM"},
	},
	{
		regexp.MustCompile(`(?i)no such (file or directory|device).*tpm|tpm.*(no such (file|device)|not found)|` +
			`no tpm`),
		Reason{NoTPM, "tbot finds no TPM",
			"look at ls -l /dev/tpm* on the host"},
	},
	{
		regexp.MustCompile(`(?i)not yet valid|certificate has expired`),
		Reason{ClockOff, "a certificate is not valid at the host's time",
			"check the host's clock: timedatectl"},
	},
	{
		regexp.MustCompile(`(?i)address already in use`),
		Reason{AddressInUse, "an address that tbot shall listen on is taken",
			"another tbot.diag_addr or service address helps"},
	},
	{
		regexp.MustCompile(`(?i)field \S+ not found|unmarshal|unrecognized|unknown (key|field|service)|` +
			`validating \S* ?bot config|parsing (config|yaml)|invalid config|unsupported version`),
		Reason{BadConfig, "tbot refuses its configuration",
			"look at tbot.services: does this version of tbot know them?"},
	},
	{
		regexp.MustCompile(`(?i)connection refused|no such host|i/o timeout|no route to host|` +
			`network is unreachable|connection reset`),
		Reason{ClusterUnreachable, "tbot can't reach the cluster",
			"does the host resolve and reach cluster.proxy_server? Is a proxy needed?"},
	},
	{
		regexp.MustCompile(`(?i)certificate signed by unknown authority|x509:`),
		Reason{ClusterCertificate, "tbot doesn't trust the cluster's certificate",
			"does the host have the CA of the proxy's certificate?"},
	},
	{
		regexp.MustCompile(`(?i)permission denied|read-only file system`),
		Reason{PermissionDenied, "tbot may not read or write something",
			"is it an output directory, or the hardening drop-in? (tbot: {hardening: false})"},
	},
	{
		regexp.MustCompile(`(?i)no space left`),
		Reason{NoSpace, "no space left on the host",
			"free some"},
	},
	{
		regexp.MustCompile(`(?i)access denied`),
		Reason{AccessDenied, "the cluster refuses",
			"the audit log of the cluster says why"},
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
