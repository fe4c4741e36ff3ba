package values

import (
	"errors"
	"fmt"
)

// ErrSealed says that a variable cannot be read: it is encrypted with Ansible Vault, and nothing that was given decrypts
// it.
var ErrSealed = errors.New("encrypted with Ansible Vault")

// Vault is a value that was encrypted with Ansible Vault (!vault).
type Vault struct {
	Text  string // the ciphertext with its header
	Place string // where it was written, as file:line:column
}

// String tells nothing of the value.
func (Vault) String() string { return "(encrypted)" }

// MarshalYAML refuses: ciphertext must not land in a file of a host as if it were the value.
func (v Vault) MarshalYAML() (any, error) {
	return nil, fmt.Errorf("a value in it (%s) is %w", v.Place, ErrSealed)
}

// MarshalJSON writes the ciphertext as Ansible does.
func (v Vault) MarshalJSON() ([]byte, error) { return AppendJSON(nil, v, 0), nil }

// Secret is a value out of a file that was encrypted as a whole. It is in clear, and whoever doesn't ask for just that
// sees nothing of it: no format and no encoding shows it.
type Secret struct {
	value any
	place string
}

// NewSecret hides a value that was decrypted from the file.
func NewSecret(value any, file string) Secret { return Secret{value: value, place: file} }

// Reveal is the value.
func (s Secret) Reveal() any { return s.value }

// String tells nothing of the value.
func (Secret) String() string { return "(secret)" }

// GoString tells nothing of the value.
func (Secret) GoString() string { return "(secret)" }

// MarshalYAML refuses, so that nothing takes what stands in its place for the value.
func (s Secret) MarshalYAML() (any, error) {
	return nil, fmt.Errorf("a value of %s in it is %w", s.place, ErrSealed)
}

// MarshalJSON writes what stands in its place.
func (s Secret) MarshalJSON() ([]byte, error) { return AppendJSON(nil, s, 0), nil }

// sealed is what stands for the value in a listing. Whoever reads it there, Ansible included, takes it for a vault text
// that nothing decrypts, and not for the value.
func (s Secret) sealed() Vault {
	return Vault{Text: "not shown: out of the encrypted file " + s.place}
}

// Unsafe is a string marked !unsafe: literal text in which Jinja means nothing.
type Unsafe string

// Hidden says whether some of a value is encrypted, or was.
func Hidden(v any) bool {
	switch v := v.(type) {
	case Vault, Secret:
		return true
	case []any:
		for _, item := range v {
			if Hidden(item) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if Hidden(item) {
				return true
			}
		}
	}
	return false
}
