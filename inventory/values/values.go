package values

import (
	"errors"
	"fmt"
)

// ErrSealed says that a connection variable cannot be read: it is encrypted with Ansible Vault or holds a Jinja
// expression, and neither is evaluated here.
var ErrSealed = errors.New("fleetctl does not evaluate it")

// Vault is a value that was encrypted with Ansible Vault (!vault): the ciphertext with its header.
type Vault string

// MarshalYAML refuses: ciphertext must not land in a file of a host as if it were the value.
func (v Vault) MarshalYAML() (any, error) {
	return nil, fmt.Errorf("a value in it is encrypted with Ansible Vault: %w", ErrSealed)
}

// Unsafe is a string marked !unsafe: literal text in which Jinja means nothing.
type Unsafe string
