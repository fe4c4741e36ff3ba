package remotetest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// NewKey makes an Ed25519 key.
func NewKey() (ssh.Signer, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("remotetest: %w", err)
	}
	return ssh.NewSignerFromKey(priv)
}

// SeededKey makes the same Ed25519 key for the same seed, so that a simulated host keeps its host key between runs.
// Never use it for anything but tests.
func SeededKey(seed string) (ssh.Signer, error) {
	sum := sha256.Sum256([]byte("remotetest host key " + seed))
	return ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(sum[:]))
}
