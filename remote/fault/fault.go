package fault

import (
	"errors"
	"fmt"
)

// Sentinels: what went wrong, for errors.Is. Each comment says whether a retry can help.
var (
	ErrUnreachable      = errors.New("unreachable")                      // no TCP or jump-host connection; may help later
	ErrTimeout          = errors.New("timed out")                        // a limit of Options passed; may help
	ErrHostKeyUnknown   = errors.New("host key is not known")            // never, until known_hosts has it
	ErrHostKeyChanged   = errors.New("host key has changed")             // never: an attack or a reinstalled host
	ErrHostKeyRevoked   = errors.New("host key is revoked")              // never
	ErrAuth             = errors.New("authentication failed")            // never
	ErrConfig           = errors.New("bad ssh configuration")            // never
	ErrBecomePassword   = errors.New("become: wrong password")           // never
	ErrBecomeNeedsPass  = errors.New("become: password required")        // never, until one is given
	ErrBecomeNotAllowed = errors.New("become: not allowed")              // never
	ErrBecome           = errors.New("become failed")                    // requiretty, expired password, method not there
	ErrNoExecDir        = errors.New("no directory may execute")         // never: every candidate is noexec or read-only
	ErrNoSpace          = errors.New("no space on the host")             // may help later
	ErrLoginShell       = errors.New("the login shell runs no commands") // never, until the account or its start files change
	ErrFile             = errors.New("the file could not be written")    // never, until something on the host changes
	ErrDisconnected     = errors.New("connection lost")                  // may help
	ErrOutputTooLong    = errors.New("host sent too much output")        // never
	ErrShortage         = errors.New("this machine lacks something")     // helps when it has it again: see Short
)

// Which limit passed, where it is known: both are ErrTimeout.
var (
	ErrConnectTimeout = fmt.Errorf("%w", ErrTimeout) // of a connection: TCP, a jump host, the key exchange
	ErrLoginTimeout   = fmt.Errorf("%w", ErrTimeout) // of a login
)

// Error is a failure with what to do about it. It does not name the host: whoever prints it does, once.
type Error struct {
	Kind error  // one of the sentinels
	Hint string // what the user can do, without a full stop; may be empty
	Err  error  // the cause; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Kind.Error()
	}
	return e.Kind.Error() + ": " + e.Err.Error()
}

func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }
