// Package store keeps the records of a fleet so that they survive: every observation of every host, the accepted
// identity, the token that each host is assigned to and what is installed. It judges no TPM and knows no SSH.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"
)

// Errors of a store.
var (
	ErrNotFound    = errors.New("no such record")
	ErrLocked      = errors.New("records are in use by another run")
	ErrNewerSchema = errors.New("records were written by a newer fleetctl")
	ErrCorrupt     = errors.New("records are damaged")
	ErrNoRecords   = errors.New("there are no records")
	ErrForeign     = errors.New("not a file of fleetctl's records")
	ErrReadOnly    = errors.New("records cannot be written")
	ErrNoSpace     = errors.New("no space left for the records")
	ErrNotPending  = errors.New("no changed identity waits for acceptance")
	ErrClosed      = errors.New("records are closed")
)

// Identity is an EK as tbot presents it, and how we came to know it.
type Identity struct {
	EKHash   string `json:"ek_public_hash"`                  // 64 lower-case hex digits
	EKSerial string `json:"ek_certificate_serial,omitempty"` // "5e:cd:5f:8e"; "" without certificate
	EKPub    []byte `json:"ek_public,omitempty"`             // PKIX DER
	EKCert   []byte `json:"ek_certificate,omitempty"`        // DER
	Proven   bool   `json:"proven"`                          // by credential activation
	Via      string `json:"via"`                             // helper, shell, tbot, import
}

// Observation is what one run saw of one host. Observations are append-only.
type Observation struct {
	Host     string          `json:"host"`
	Run      int64           `json:"run"`
	At       time.Time       `json:"at"`
	Outcome  string          `json:"outcome"` // ok, changed, skipped, unreachable, failed, canceled
	Status   string          `json:"status"`  // why: "host-key-changed", "no-tpm", "unproven"…; "" when ok
	Message  string          `json:"message,omitempty"`
	Identity *Identity       `json:"identity,omitempty"` // nil when the TPM could not be asked
	TPM      json.RawMessage `json:"tpm,omitempty"`      // tpm.Properties and findings, as JSON
}

// Record is what is known of a host now.
type Record struct {
	Host      string       `json:"host"`
	Accepted  *Identity    `json:"accepted,omitempty"` // the identity that gets a rule
	Pending   *Identity    `json:"pending,omitempty"`  // a different one, seen later, that waits for Accept
	Last      *Observation `json:"last,omitempty"`
	Token     string       `json:"token,omitempty"`     // sticky assignment
	TokenEK   string       `json:"token_ek,omitempty"`  // the EK hash that was accepted when the token was assigned
	Installed *Installed   `json:"installed,omitempty"` // what enroll put there
}

// Installed is what enroll last put on a host.
type Installed struct {
	At           time.Time `json:"at"`
	Token        string    `json:"token"`
	TbotVersion  string    `json:"tbot_version"`
	ConfigSHA256 string    `json:"config_sha256"`
	UnitSHA256   string    `json:"unit_sha256"`

	Run   int64    `json:"run,omitempty"`   // the run that came last to the host
	State string   `json:"state,omitempty"` // "": as it should be; "applying", "failed" or "removing": not through
	Step  string   `json:"step,omitempty"`  // the step that it was at, when it is not through
	Made  []string `json:"made,omitempty"`  // "user:teleport", "group:tss"…: what wasn't there before, for a removal

	JoinedAt   *time.Time `json:"joined_at,omitempty"`   // the latest join that a run has seen in the cluster; nil: none has
	JoinedWith string     `json:"joined_with,omitempty"` // the token of that join

	User    string `json:"user,omitempty"`    // who tbot runs as
	Config  string `json:"config,omitempty"`  // the path of tbot.yaml
	Storage string `json:"storage,omitempty"` // the path of tbot's state
}

// Verdict is what Put made of an observation.
type Verdict struct {
	Changed    bool     // an identity that differs from the accepted one: it waits, the accepted one stays
	Old        string   // the accepted EK hash, when Changed
	Replaced   string   // the EK hash that was accepted and only claimed: the proven one took its place at once
	Duplicates []string // other hosts whose accepted or pending identity is the same EK
}

// Duplicate is one EK that several hosts present.
type Duplicate struct {
	EKHash string
	Hosts  []string // sorted
}

// Token is a token that fleetctl made.
type Token struct {
	Name string `json:"name"`
	Kind string `json:"kind"`          // bot or node
	Bot  string `json:"bot,omitempty"` // whom its hosts join as
}

// Rule is an allow rule that fleetctl wrote into a token.
type Rule struct {
	Token    string `json:"token"`
	EKHash   string `json:"ek_public_hash"`
	EKSerial string `json:"ek_certificate_serial,omitempty"`
	Host     string `json:"host"`
}

// Run is one run of fleetctl.
type Run struct {
	ID      int64     `json:"id"`
	Command string    `json:"command"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	State   string    `json:"state"` // running, done, failed, interrupted
	Hosts   int       `json:"hosts"`
}

// Store keeps records. An implementation commits before it returns, and is safe for use by several goroutines.
type Store interface {
	BeginRun(ctx context.Context, command string, hosts int) (int64, error)
	ResumeRun(ctx context.Context, run int64) error
	EndRun(ctx context.Context, run int64, state string) error
	Runs(ctx context.Context, limit int) ([]Run, error) // newest first

	// Put appends an observation and returns when it is durable; concurrent Puts share a commit. The first proven
	// identity of a host is accepted. A later one with another EK is pending, and the observation is kept as failed
	// with status "changed-ek". A proven identity takes the place of a claimed one at once as long as no token was
	// assigned for that; else it waits, since a rule goes by a person's word alone. An identity that is not proven is
	// accepted only where none is yet, and only when the outcome is ok or changed: what a failed proof claimed is kept
	// as evidence and nothing more.
	Put(ctx context.Context, o Observation) (Verdict, error)

	Record(ctx context.Context, host string) (Record, error) // ErrNotFound
	Records(ctx context.Context) iter.Seq2[Record, error]    // by host name
	History(ctx context.Context, host string) iter.Seq2[Observation, error]
	Seen(ctx context.Context, run int64) (map[string]string, error) // host → outcome of that run, for resume and retry
	Duplicates(ctx context.Context) ([]Duplicate, error)

	Accept(ctx context.Context, hosts ...string) error // pending becomes accepted
	Forget(ctx context.Context, hosts ...string) error
	Assign(ctx context.Context, tokens map[string]string) error // host → token name, in one transaction

	// Publish notes tokens and rules that go to the cluster, together with the assignment, in one transaction. Rules
	// add up, so that a rule in the cluster can be told from one that somebody else wrote; Retract takes rules back.
	Publish(ctx context.Context, assign map[string]string, tokens []Token, rules []Rule) error
	Retract(ctx context.Context, rules []Rule) error
	Tokens(ctx context.Context) ([]Token, error) // by name
	Rules(ctx context.Context) iter.Seq2[Rule, error]

	SetInstalled(ctx context.Context, host string, i *Installed) error
	Close() error
}
