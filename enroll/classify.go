package enroll

import (
	"context"
	"errors"
	"fmt"

	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// cause is how one kind of failure is reported.
type cause struct {
	err     error
	outcome Outcome
	status  string
	hint    string // when the error itself brings none
}

// causes go from special to general: the first that matches counts.
var causes = [...]cause{
	{errInventory, Failed, "inventory-error", ""},
	{remote.ErrHostKeyChanged, Unreachable, "host-key-changed",
		"if the host was reinstalled: check the new fingerprint on its console, then replace its line in known_hosts"},
	{remote.ErrHostKeyRevoked, Unreachable, "host-key-revoked", "known_hosts revokes this key: find out why before going on"},
	{remote.ErrHostKeyUnknown, Unreachable, "host-key-unknown",
		"add the host's key to known_hosts, or use --host-key-checking=accept-new once"},
	{remote.ErrAuth, Unreachable, "auth-failed", "check the user, the keys and the agent: ssh -v to the host shows what is tried"},
	{remote.ErrConfig, Failed, "ssh-config", ""},
	{remote.ErrBecomePassword, Failed, "become-failed", "check the become password: --ask-become-pass"},
	{remote.ErrBecomeNeedsPass, Failed, "become-failed", "give the become password: --ask-become-pass"},
	{remote.ErrBecomeNotAllowed, Failed, "become-failed", "let the user become root in sudoers, or use another user"},
	{remote.ErrBecome, Failed, "become-failed", ""},
	{remote.ErrNoExecDir, Failed, "no-exec-dir", "use --identify-with shell: it needs no executable on the host"},
	{remote.ErrNoSpace, Failed, "no-space", "free some space on the host"},
	{remote.ErrOutputTooLong, Failed, "bad-output", ""},
	{errNoTbot, Failed, "no-tbot", "install tbot there, or let the helper ask: --identify-with helper"},
	{errTbotFails, Failed, "tbot-failed", ""},
	{errTbotDiffers, Failed, "tbot-differs", "tell us: this must not be; fleetctl scan -v and tbot tpm identify --debug show more"},
	{tpm.ErrIdentity, Failed, "ek-unreadable", "the host cannot join by the tpm method; use another join method for it"},
	{tpm.ErrNoTPM, Failed, "no-tpm", "enable the TPM in the firmware, or leave the host out"},
	{tpm.ErrTPM12, Failed, "tpm-1.2", "tbot needs a TPM 2.0: some boards can be switched in the firmware"},
	{tpm.ErrPermission, Failed, "tpm-permission", "let fleetctl become root on the host (ansible_become, --become-user)"},
	{tpm.ErrBusy, Failed, "tpm-busy", "another program holds the TPM: try again, or look for it with fuser /dev/tpm0"},
	{tpm.ErrLockout, Failed, "tpm-lockout", "wait until the TPM's lockout has passed, or clear it: tpm2_dictionarylockout -c"},
	{tpm.ErrProof, Failed, "unproven", "the TPM didn't show that it holds the key it names: don't trust this host before you know why"},
	{tpm.ErrProtocol, Failed, "bad-output", "something on the host breaks the helper's output: look at the shell's start files"},
	{tpm.ErrTPM, Failed, "tpm-error", "look at dmesg on the host"},
	{context.DeadlineExceeded, Unreachable, "timeout", "raise --timeout if the host is only slow"},
	{remote.ErrTimeout, Unreachable, "timeout", "raise --timeout if the host is only slow"},
	{remote.ErrDisconnected, Unreachable, "disconnected", "try again: fleetctl scan --retry-failed"},
	{remote.ErrUnreachable, Unreachable, "connect-failed", "is the host up, and its address right?"},
}

var errInventory = errors.New("inventory")

// failure turns an error of one host into its result. The message loses every control character: parts of it may come
// from the host.
func failure(ctx context.Context, host inventory.Host, err error) Result {
	r := Result{Host: host.Name, Outcome: Failed, Status: "error", Message: remote.Clean(err.Error())}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		r.Outcome, r.Status, r.Message = Canceled, "canceled", "canceled before it was done"
		return r
	case errors.Is(ctx.Err(), context.DeadlineExceeded): // whatever the layer that noticed made of it
		err = fmt.Errorf("%w: %w", remote.ErrTimeout, err)
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			r.Outcome, r.Status, r.Hint = c.outcome, c.status, c.hint
			break
		}
	}
	if hint := hintOf(err); hint != "" {
		r.Hint = remote.Clean(hint)
	}
	return r
}

// hintOf finds what an error says to do.
func hintOf(err error) string {
	if re := (*remote.Error)(nil); errors.As(err, &re) && re.Hint != "" {
		return re.Hint
	}
	if he := (*HintError)(nil); errors.As(err, &he) {
		return he.Hint
	}
	return ""
}
