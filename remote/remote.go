// Package remote owns one SSH connection to one host: dialling, host keys, authentication, running commands, becoming
// root and putting files there. It knows no TPM and no Teleport.
package remote

import (
	"io"
	"time"

	"fleetctl/remote/fault"
	"fleetctl/remote/text"
)

// Sentinels: what went wrong, for errors.Is. Each comment says whether a retry can help.
var (
	ErrUnreachable      = fault.ErrUnreachable      // no TCP or jump-host connection; may help later
	ErrTimeout          = fault.ErrTimeout          // a limit of Options passed; may help
	ErrHostKeyUnknown   = fault.ErrHostKeyUnknown   // never, until known_hosts has it
	ErrHostKeyChanged   = fault.ErrHostKeyChanged   // never: an attack or a reinstalled host
	ErrHostKeyRevoked   = fault.ErrHostKeyRevoked   // never
	ErrAuth             = fault.ErrAuth             // never
	ErrConfig           = fault.ErrConfig           // never
	ErrBecomePassword   = fault.ErrBecomePassword   // never
	ErrBecomeNeedsPass  = fault.ErrBecomeNeedsPass  // never, until one is given
	ErrBecomeNotAllowed = fault.ErrBecomeNotAllowed // never
	ErrBecome           = fault.ErrBecome           // requiretty, expired password, method not there
	ErrNoExecDir        = fault.ErrNoExecDir        // never: every candidate is noexec or read-only
	ErrNoSpace          = fault.ErrNoSpace          // may help later
	ErrLoginShell       = fault.ErrLoginShell       // never, until the account or its start files change
	ErrFile             = fault.ErrFile             // never, until something on the host changes
	ErrDisconnected     = fault.ErrDisconnected     // may help
	ErrOutputTooLong    = fault.ErrOutputTooLong    // never
	ErrShortage         = fault.ErrShortage         // when this machine has again what it is short of; says nothing of the host
)

// Which limit passed, where it is known: both are ErrTimeout.
var (
	ErrConnectTimeout = fault.ErrConnectTimeout
	ErrLoginTimeout   = fault.ErrLoginTimeout
)

// Error is a failure with what to do about it. It does not name the host: whoever prints it does, once.
type Error = fault.Error

// Clean makes what a host said fit for a terminal, a log or a YAML file; see text.Clean.
func Clean(s string) string { return text.Clean(s) }

// Escape is text on one line in which nothing can pass for something else; see text.Escape.
func Escape(s string) string { return text.Escape(s) }

// Cut is the beginning of a host's words, cleaned, with a mark where more followed.
func Cut(s string, n int) string { return text.Cut(s, n) }

// Head is the beginning of a host's words, at most n bytes of them, uncleaned.
func Head(s string, n int) string { return text.Head(s, n) }

// Tail is the end of a host's words, at most n bytes of them, uncleaned, with a mark where more came before.
func Tail(s string, n int) string { return text.Tail(s, n) }

// Line is Clean on one line.
func Line(s string) string { return text.Line(s) }

// Target says how to reach one host: what the inventory says of it. Zero values are filled from the OpenSSH
// configuration (ssh -G, or kevinburke/ssh_config where there is no OpenSSH).
type Target struct {
	Name           string // the name in the inventory, for logs
	Host           string // address, name or ssh_config alias
	Port           int
	User           string
	Password       string
	PrivateKeyFile string
	KeyPlace       string        // who names PrivateKeyFile, and where, for what is said of it
	SSHArgs        []string      // -o, -J, -i, -F, -p, -l as OpenSSH takes them
	Timeout        time.Duration // ansible_timeout: for the connection, and for login and become at the least; 0: none is said
	Become         Become
}

// Become says how to become another user.
type Become struct {
	Method   string // sudo (default), doas or su
	User     string // default root
	Password string
	Exe      string // the command, of one or more words as a POSIX shell reads them; default the method's name
	Flags    string // words as a POSIX shell reads them; default -H for sudo
	Prompt   string // a regular expression (RE2) for the question for the password; "": one that says "password" and ends with a colon
}

// Options of a Dialer; zero values mean the defaults in the comments.
type Options struct {
	HostKeyChecking string // strict (default), accept-new or off

	// Where these are 0, a host's Target.Timeout says them, else ConnectTimeout of the OpenSSH configuration, else they are those
	// in the comments.
	ConnectTimeout   time.Duration // TCP, or the channel through a jump host, 10 s
	HandshakeTimeout time.Duration // version and key exchange, 20 s, or as long as ConnectTimeout
	AuthTimeout      time.Duration // the login, and become each time, 20 s, or as long as ConnectTimeout
	CommandTimeout   time.Duration // one command, none: the context's deadline
	IdleTimeout      time.Duration // a command whose host sends and takes nothing, none
	KeepAlive        time.Duration // ServerAliveInterval, else 15 s; three unanswered ones end the connection
	Retries          int           // of what a retry can help, 3; negative: none
	JumpDials        int           // connections to one address behind a jump host that are not logged in yet, 8

	SSHConfig  string // -F; "" is OpenSSH's default
	SSH        string // the OpenSSH client; "" finds ssh in PATH, "none" does without
	User       string // where neither Target nor the OpenSSH configuration names one; "" is the local user's name
	PrivateKey string // -i: tried where Target names no key
	KeyPlace   string // who names PrivateKey

	PenaltyPause time.Duration // before the next try where sshd penalises this machine, doubled each time up to a minute, 5 s

	Accepted   func(host, fingerprint string)       // accept-new: hears of every key that it trusted; may be nil
	Passphrase func(keyFile string) (string, error) // asked once a key; nil: encrypted keys are skipped
	Warn       func(text string)                    // hears once of what keeps a setting from being used; may be nil
	Logf       func(format string, args ...any)     // -v; nil: silent
	Debugf     func(format string, args ...any)     // -vv; nil: silent
}

// Cmd is a command to run on the host.
type Cmd struct {
	Script    string    // a POSIX sh script; whatever the login shell is, sh runs it; it never stands in argv
	Stdin     io.Reader // what the script reads; nil: nothing
	Become    bool      // run it as Target.Become.User
	MaxOutput int64     // of stdout and of stderr, each; default 1 MiB; more is ErrOutputTooLong
}

// Output is what a command said. Noise that the login shell prints before the script starts is not in it. Of stderr
// only the first and the last 8 KiB are kept, with a mark where something is missing; of stdout the first 64 and the last
// 8 KiB where Cmd.MaxOutput is not set.
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
