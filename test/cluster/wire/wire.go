// Package wire is how the stand-in for tbot talks to the stand-in for the auth service: one JSON object a line over
// TCP. It is not Teleport's protocol.
//
//	tbot → auth: Hello
//	auth → tbot: Reply with a Challenge, or with an Error
//	tbot → auth: Solution
//	auth → tbot: Reply with an Identity, or with an Error
package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/go-attestation/attest"
)

// MaxMessage is the longest message in bytes that either side reads.
const MaxMessage = 64 << 10

// Hello opens a join. EKCert and EKKey are DER; one of them is set.
type Hello struct {
	Token    string                       `json:"token"`
	EKCert   []byte                       `json:"ek_cert,omitempty"`
	EKKey    []byte                       `json:"ek_key,omitempty"`
	AK       attest.AttestationParameters `json:"ak"`
	Previous string                       `json:"previous,omitempty"` // Identity.Secret of a join that this one renews
	Beat     Heartbeat                    `json:"heartbeat"`
}

// Heartbeat is what tbot says of itself. The server believes none of it.
type Heartbeat struct {
	Hostname string `json:"hostname"`
	Version  string `json:"version"`
	Arch     string `json:"arch"`
	OS       string `json:"os"`
	OneShot  bool   `json:"one_shot"`
	Startup  bool   `json:"startup"`

	Uptime time.Duration `json:"uptime"`
}

// Solution answers a challenge: the secret, or why the TPM would not give it.
type Solution struct {
	Secret []byte `json:"secret,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Reply is what the auth service says; one field is set.
type Reply struct {
	Challenge *attest.EncryptedCredential `json:"challenge,omitempty"`
	Identity  *Identity                   `json:"identity,omitempty"`
	Error     string                      `json:"error,omitempty"`
}

// Identity stands for the certificates that a bot gets.
type Identity struct {
	Bot        string    `json:"bot"`
	InstanceID string    `json:"instance_id"`
	Token      string    `json:"token"`
	EKPubHash  string    `json:"ek_pub_hash"`
	Secret     string    `json:"secret"`
	Generation int       `json:"generation"` // how many joins the instance has seen; nobody checks it for the tpm method
	IssuedAt   time.Time `json:"issued_at"`
}

// Conn sends and receives messages.
type Conn struct {
	w io.Writer
	r *bufio.Scanner
}

// NewConn talks over rw.
func NewConn(rw io.ReadWriter) *Conn {
	scanner := bufio.NewScanner(rw)
	scanner.Buffer(make([]byte, 0, 4096), MaxMessage)
	return &Conn{w: rw, r: scanner}
}

// Send writes one message.
func (c *Conn) Send(msg any) error {
	data, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	_, err = c.w.Write(append(data, '\n'))
	return err
}

// Receive reads one message.
func (c *Conn) Receive(msg any) error {
	if !c.r.Scan() {
		return errors.Join(c.r.Err(), io.ErrUnexpectedEOF)
	}
	if err := json.Unmarshal(c.r.Bytes(), msg); err != nil {
		return fmt.Errorf("malformed message: %w", err)
	}
	return nil
}
