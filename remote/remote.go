// Package remote owns one SSH connection to one host: dialling, host keys, authentication, running commands, becoming
// root and putting files there. It knows no TPM and no Teleport.
package remote

import (
	"errors"
	"io"
	"time"
)

// Sentinels: what went wrong, for errors.Is. Each comment says whether a retry can help.
var (
	ErrUnreachable      = errors.New("unreachable")               // no TCP or jump-host connection; may help later
	ErrTimeout          = errors.New("timed out")                 // a limit of Options passed; may help
	ErrHostKeyUnknown   = errors.New("host key is not known")     // never, until known_hosts has it
	ErrHostKeyChanged   = errors.New("host key has changed")      // never: an attack or a reinstalled host
	ErrHostKeyRevoked   = errors.New("host key is revoked")       // never
	ErrAuth             = errors.New("authentication failed")     // never
	ErrConfig           = errors.New("bad ssh configuration")     // never
	ErrBecomePassword   = errors.New("become: wrong password")    // never
	ErrBecomeNeedsPass  = errors.New("become: password required") // never, until one is given
	ErrBecomeNotAllowed = errors.New("become: not allowed")       // never
	ErrBecome           = errors.New("become failed")             // requiretty, expired password, method not there
	ErrNoExecDir        = errors.New("no directory may execute")  // never: every candidate is noexec or read-only
	ErrNoSpace          = errors.New("no space on the host")      // may help later
	ErrDisconnected     = errors.New("connection lost")           // may help
	ErrOutputTooLong    = errors.New("host sent too much output") // never
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

// Target says how to reach one host: what the inventory says of it. Zero values are filled from the OpenSSH
// configuration (ssh -G, or kevinburke/ssh_config where there is no OpenSSH).
type Target struct {
	Name           string // the name in the inventory, for logs
	Host           string // address, name or ssh_config alias
	Port           int
	User           string
	Password       string
	PrivateKeyFile string
	SSHArgs        []string // -o, -J, -i, -F, -p, -l as OpenSSH takes them
	Become         Become
}

// Become says how to become another user.
type Become struct {
	Method   string // sudo (default), doas or su
	User     string // default root
	Password string
	Exe      string
	Flags    string
}

// Options of a Dialer; zero values mean the defaults in the comments.
type Options struct {
	HostKeyChecking string // strict (default), accept-new or off

	ConnectTimeout   time.Duration // TCP, or the channel through a jump host, 10 s
	HandshakeTimeout time.Duration // version and key exchange, 20 s
	AuthTimeout      time.Duration // authentication, 20 s
	CommandTimeout   time.Duration // one command, none: the context's deadline
	IdleTimeout      time.Duration // a command whose host sends and takes nothing, none
	KeepAlive        time.Duration // ServerAliveInterval, else 15 s; three unanswered ones end the connection
	Retries          int           // of what a retry can help, 3; negative: none
	JumpDials        int           // hosts dialled at once through one jump host, 8

	SSHConfig  string // -F; "" is OpenSSH's default
	SSH        string // the OpenSSH client; "" finds ssh in PATH, "none" does without
	User       string // where neither Target nor the OpenSSH configuration names one; "" is the local user's name
	PrivateKey string // -i: tried where Target names no key

	Accepted   func(host, fingerprint string)       // accept-new: hears of every key that it trusted; may be nil
	Passphrase func(keyFile string) (string, error) // asked once a key; nil: encrypted keys are skipped
	Logf       func(format string, args ...any)     // -v; nil: silent
}

// Cmd is a command to run on the host.
type Cmd struct {
	Script    string    // a POSIX sh script; whatever the login shell is, sh runs it; it never stands in argv
	Stdin     io.Reader // what the script reads; nil: nothing
	Become    bool      // run it as Target.Become.User
	MaxOutput int64     // of stdout and of stderr, each; default 1 MiB; more is ErrOutputTooLong
}

// Output is what a command said. Noise that the login shell prints before the script starts is not in it.
type Output struct {
	Stdout, Stderr []byte
	ExitCode       int // not an error by itself: Run returns nil for any exit code
}

// Payload is an executable that is pushed, run and removed.
type Payload struct {
	Name   string // file name, [a-z0-9-]+
	Data   []byte
	SHA256 [32]byte
	Args   []string
	Become bool
	Keep   bool // --keep-helper: cached by digest
}

// File is a file to be put on the host.
type File struct {
	Path         string
	Content      []byte
	Mode         uint32 // permission bits, e.g. 0o640
	Owner, Group string // names; "" leaves the writer's
}
