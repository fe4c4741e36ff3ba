package outcome

import (
	"context"
	"errors"
	"fmt"

	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// cause is how one kind of failure of the ground floor (remote, tpm, context) is reported.
type cause struct {
	err  error
	code Code
	hint string // when the error brings none and the list of codes is not exact enough
}

// causes is the one table from error to code, from special to general: the first that matches counts. What is above the
// ground floor brings its code along (Error).
var causes = [...]cause{
	{remote.ErrHostKeyChanged, HostKeyChanged, ""},
	{remote.ErrHostKeyRevoked, HostKeyRevoked, ""},
	{remote.ErrHostKeyUnknown, HostKeyUnknown, ""},
	{remote.ErrAuth, AuthFailed, ""},
	{remote.ErrConfig, SSHConfig, ""},
	{remote.ErrBecomePassword, BecomeFailed, "check the become password"},
	{remote.ErrBecomeNeedsPass, BecomeFailed, "give the become password"},
	{remote.ErrBecomeNotAllowed, BecomeFailed, "let the user become root in sudoers, or use another user"},
	{remote.ErrBecome, BecomeFailed, ""},
	{remote.ErrNoExecDir, NoExecDir, ""},
	{remote.ErrNoSpace, NoSpace, ""},
	{remote.ErrFile, StepFailed, ""},
	{remote.ErrLoginShell, LoginShell, ""},
	{remote.ErrOutputTooLong, BadOutput, ""},
	{tpm.ErrIdentity, EKUnreadable, ""},
	{tpm.ErrNoTPM, NoTPM, ""},
	{tpm.ErrTPM12, TPM12, ""},
	{tpm.ErrPermission, TPMPermission, ""},
	{tpm.ErrBusy, TPMBusy, ""},
	{tpm.ErrLockout, TPMLockout, ""},
	{tpm.ErrProof, Unproven, "the TPM didn't show that it holds the key it names: don't trust this host before you know why"},
	{tpm.ErrProtocol, BadOutput, ""},
	{tpm.ErrTPM, TPMError, ""},
	{context.DeadlineExceeded, Timeout, ""},
	{remote.ErrTimeout, Timeout, ""},
	{remote.ErrDisconnected, Disconnected, ""},
	{remote.ErrUnreachable, ConnectFailed, ""},
}

// unreachable are the codes of hosts that were not reached, or lost on the way. All others are failures.
var unreachable = map[Code]bool{
	HostKeyChanged: true, HostKeyRevoked: true, HostKeyUnknown: true, AuthFailed: true, Timeout: true, Disconnected: true,
	ConnectFailed: true,
}

// Failure turns an error of one host into its result. The message loses every control character: parts of it may come
// from the host.
func Failure(ctx context.Context, host inventory.Host, err error) Result {
	said := words(err)
	limit := limitOf(err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return Result{Host: host.Name, Outcome: Canceled, Reason: Reason{Code: WasCanceled, Message: "canceled before it was done"}}
	case errors.Is(ctx.Err(), context.DeadlineExceeded): // whatever the layer that noticed made of it
		err, limit = fmt.Errorf("%w: %w", remote.ErrTimeout, err), LimitHost
	}
	r := Result{Host: host.Name, Outcome: Failed, Reason: ReasonOf(err)}
	r.Message, r.Limit = said, limit
	if unreachable[r.Code] {
		r.Outcome = Unreachable
	}
	return r
}

// ReasonOf finds the code of an error and what to do about it; General where nobody gave it one.
func ReasonOf(err error) Reason {
	r := Reason{Code: General, Message: words(err), Limit: limitOf(err)}
	hint := ""
	if e := (*Error)(nil); errors.As(err, &e) {
		r.Code, hint = e.Code, e.Hint
	} else {
		for _, c := range causes {
			if errors.Is(err, c.err) {
				r.Code, hint = c.code, c.hint
				break
			}
		}
	}
	for _, h := range []string{HintOf(err), hint, Lookup(r.Code).Do} {
		if h != "" {
			r.Hint = remote.Line(h)
			break
		}
	}
	return r
}

// HintOf finds what an error itself says to do; "" when it doesn't.
func HintOf(err error) string {
	if e := (*InputError)(nil); errors.As(err, &e) {
		return e.Hint
	}
	if e := (*remote.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		return e.Hint
	}
	if e := (*HintError)(nil); errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
