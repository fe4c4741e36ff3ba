// Package remote owns one SSH connection to one host: dialling, host keys, authentication, running commands, becoming
// root and putting files there. It knows no TPM and no Teleport.
package remote

import (
	"context"
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
	HostKeyChecking  string                               // strict (default), accept-new or off
	ConnectTimeout   time.Duration                        // TCP, 10 s
	HandshakeTimeout time.Duration                        // key exchange and authentication, 20 s
	CommandTimeout   time.Duration                        // one command, none: the context's deadline
	KeepAlive        time.Duration                        // 15 s
	Retries          int                                  // of what a retry can help, 3
	SSHConfig        string                               // -F; "" is OpenSSH's default
	User             string                               // where nothing else names one; "" is the local user
	PrivateKey       string                               // -i: tried where Target names no key
	Accepted         func(host, fingerprint string)       // accept-new: hears of every key that was added to known_hosts; may be nil
	Passphrase       func(keyFile string) (string, error) // asked once a key; nil: encrypted keys are skipped
	Logf             func(format string, args ...any)     // -v; nil: silent
}

// Dialer makes connections. It holds what connections share: the agent, key files, known_hosts, jump hosts.
type Dialer struct{}

// NewDialer reads what all connections share.
func NewDialer(opts Options) (*Dialer, error) { return nil, errors.New("remote: not built yet") }

// Dial connects and authenticates to a target.
func (d *Dialer) Dial(ctx context.Context, t Target) (*Conn, error) {
	return nil, errors.New("remote: not built yet")
}

// Close ends the shared connections to jump hosts and to the agent.
func (d *Dialer) Close() error { return nil }

// Conn is a connection to one host; safe for use by several goroutines.
type Conn struct{}

// Close ends the connection and everything that runs over it.
func (c *Conn) Close() error { return nil }

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

// Run runs a command to its end.
func (c *Conn) Run(ctx context.Context, cmd Cmd) (Output, error) {
	return Output{}, errors.New("remote: not built yet")
}

// Process is a command that is running.
type Process struct {
	Stdin  io.WriteCloser // connected once the script runs, after become
	Stdout io.Reader      // bounded by Cmd.MaxOutput
}

// Wait waits for the end and returns the exit code and what stderr held (bounded).
func (p *Process) Wait() (exitCode int, stderr []byte, err error) {
	return 0, nil, errors.New("remote: not built yet")
}

// Close ends the process and waits until what it left on the host is cleaned up or the grace period is over.
func (p *Process) Close() error { return nil }

// Start starts a command; it returns when the script runs (become included), so that Stdin belongs to the script.
func (c *Conn) Start(ctx context.Context, cmd Cmd) (*Process, error) {
	return nil, errors.New("remote: not built yet")
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

// StartPayload pushes an executable into a private, unpredictable directory that may execute, checks its SHA-256 on
// the host and runs it. The directory is removed when the process ends, however it ends.
func (c *Conn) StartPayload(ctx context.Context, p Payload) (*Process, error) {
	return nil, errors.New("remote: not built yet")
}

// File is a file to be put on the host.
type File struct {
	Path         string
	Content      []byte
	Mode         uint32 // permission bits, e.g. 0o640
	Owner, Group string // names; "" leaves the writer's
}

// WriteFile writes a file: temp file in the same directory, 0600, SHA-256 check, chmod, chown, rename.
func (c *Conn) WriteFile(ctx context.Context, f File, become bool) error {
	return errors.New("remote: not built yet")
}
