package main

import (
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
)

// advice is what the command line adds to what a code says to do: flags and commands are known here alone. HOST stands
// for the host's name.
var advice = map[outcome.Code]string{
	outcome.InventoryError: "--limit leaves hosts out; --ask-pass and --ask-become-pass ask for passwords that it can't say; " +
		"--ask-vault-pass, --vault-password-file and --vault-id decrypt, and --ignore-vault does without",
	outcome.HostKeyUnknown:       "fleetctl known-hosts collects and compares keys; --host-key-checking=accept-new trusts it once",
	outcome.AuthFailed:           "--user, --private-key and --ask-pass say what to try",
	outcome.BecomeFailed:         "--ask-become-pass asks for the password",
	outcome.NoExecDir:            "--identify-with shell",
	outcome.NoHelper:             "--identify-with shell",
	outcome.TPMPermission:        "--become-user names another user than root",
	outcome.Timeout:              "--timeout; for one connection --connect-timeout, for a login --auth-timeout",
	outcome.Disconnected:         "--forks says how many hosts at once; fleetctl scan --retry-failed goes to those that failed",
	outcome.BadInput:             "--host names the host, where a file doesn't",
	outcome.NotOurs:              "--adopt",
	outcome.NoToken:              "fleetctl scan --limit HOST",
	outcome.NoRule:               "fleetctl tokens --diff shows what the cluster has",
	outcome.TokenMissing:         "fleetctl tokens --apply",
	outcome.EKCertRefused:        "fleetctl records --issuers names it",
	outcome.FindingIssuerUnknown: "fleetctl records --issuers names it",
	outcome.ChangedEK:            "fleetctl records accept HOST",
	outcome.StateUnfinished:      "fleetctl enroll --limit HOST",
	outcome.StateUndoPending:     "fleetctl remove --resume",
	outcome.StateUnverified:      "cluster.verify: host; of status, --no-cluster",
	outcome.StateDrifted:         "fleetctl enroll --limit HOST; with --check --diff it shows what",
}

// limitFlags set the limits of time.
var limitFlags = map[outcome.Limit]string{
	outcome.LimitHost: "--timeout", outcome.LimitConnect: "--connect-timeout", outcome.LimitLogin: "--auth-timeout",
}

// hostWord stands for a host's name in what codes say to do.
var hostWord = regexp.MustCompile(`\bHOST\b`)

// advise adds to a reason what the command line can do about it, for that host.
func advise(host string, r outcome.Reason) outcome.Reason {
	more := advice[r.Code]
	if flag, ok := limitFlags[r.Limit]; ok && r.Code == outcome.Timeout {
		more = flag
	}
	if host != "" {
		r.Hint, more = hostWord.ReplaceAllLiteralString(r.Hint, host), hostWord.ReplaceAllLiteralString(more, host)
	}
	switch {
	case more == "" || strings.Contains(r.Hint, more):
	case r.Hint == "":
		r.Hint = more
	default:
		r.Hint += " (" + more + ")"
	}
	return r
}

// adviseAll is advise for results.
func adviseAll(results []outcome.Result) []outcome.Result {
	out := make([]outcome.Result, len(results))
	for i, r := range results {
		if r.Bad() {
			r.Reason = advise(r.Host, r.Reason)
		}
		r.Warnings = slices.Clone(r.Warnings)
		for j, w := range r.Warnings {
			r.Warnings[j].Reason = advise(r.Host, w.Reason)
		}
		out[i] = r
	}
	return out
}
