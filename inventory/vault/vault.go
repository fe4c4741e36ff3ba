// Package vault decrypts what ansible-vault encrypted (formats 1.1 and 1.2, AES256) and finds the passwords for it. It
// knows nothing of inventories, and it encrypts nothing.
package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Header is how everything begins that ansible-vault encrypted.
const Header = "$ANSIBLE_VAULT"

// DefaultID is the vault ID of a password that was given without one, and of a text whose header names none.
const DefaultID = "default"

// maxText bounds what is decrypted at once.
const maxText = 64 << 20

// Why something cannot be decrypted.
var (
	ErrNoPassword = errors.New("no vault password was given")
	ErrPassword   = errors.New("no vault password that was given fits")
	ErrDamaged    = errors.New("the vault text is damaged")
)

// IsEncrypted says whether a text is an encrypted one: it begins with the header and is ASCII throughout.
func IsEncrypted[T string | []byte](text T) bool {
	return len(text) >= len(Header) && string(text[:len(Header)]) == Header &&
		!slices.ContainsFunc([]byte(text), func(c byte) bool { return c >= 0x80 })
}

// secret is a password and the vault ID that it is for.
type secret struct {
	id       string
	password string
}

// envelope is an encrypted text, taken apart.
type envelope struct {
	id               string
	salt, mac, crypt []byte
}

// parse takes an encrypted text apart, as Ansible does: it looks at the cipher, and not at the version.
func parse(text string) (envelope, error) {
	if !IsEncrypted(text) {
		return envelope{}, fmt.Errorf("%w: it doesn't begin with %s, or is not ASCII", ErrDamaged, Header)
	}
	if len(text) > maxText {
		return envelope{}, fmt.Errorf("%w: it has more than %d MiB", ErrDamaged, maxText>>20)
	}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	fields := strings.Split(lines[0], ";")
	if len(fields) < 3 || strings.TrimSpace(fields[0]) != Header {
		return envelope{}, fmt.Errorf("%w: its header is not %s;VERSION;AES256", ErrDamaged, Header)
	}
	if name := strings.TrimSpace(fields[2]); name != "AES256" {
		return envelope{}, fmt.Errorf("%w: the cipher %q is not known, only AES256", ErrDamaged, name)
	}
	e := envelope{id: DefaultID}
	if len(fields) > 3 {
		e.id = strings.TrimSpace(fields[3])
	}
	body, err := hex.DecodeString(strings.Join(lines[1:], ""))
	if err != nil {
		return envelope{}, fmt.Errorf("%w: it is not hexadecimal throughout, or cut off", ErrDamaged)
	}
	parts := bytes.SplitN(body, []byte("\n"), 3)
	if len(parts) != 3 {
		return envelope{}, fmt.Errorf("%w: it is cut off", ErrDamaged)
	}
	for i, to := range []*[]byte{&e.salt, &e.mac, &e.crypt} {
		if *to, err = hex.DecodeString(string(parts[i])); err != nil {
			return envelope{}, fmt.Errorf("%w: it is not hexadecimal throughout, or cut off", ErrDamaged)
		}
	}
	return e, nil
}

// Rounds and lengths of the key derivation.
const (
	rounds    = 10_000
	keyLength = 32
)

// open decrypts with one password. ok is false where the password is another one, or something was changed: which of
// the two, nobody can say.
func (e envelope) open(password string) (plain []byte, ok bool, err error) {
	key, err := pbkdf2.Key(sha256.New, password, e.salt, rounds, 2*keyLength+aes.BlockSize)
	if err != nil {
		return nil, false, err
	}
	mac := hmac.New(sha256.New, key[keyLength:2*keyLength])
	mac.Write(e.crypt)
	if !hmac.Equal(mac.Sum(nil), e.mac) {
		return nil, false, nil
	}
	block, err := aes.NewCipher(key[:keyLength])
	if err != nil {
		return nil, false, err
	}
	plain = make([]byte, len(e.crypt))
	cipher.NewCTR(block, key[2*keyLength:]).XORKeyStream(plain, e.crypt)
	if plain, ok = unpad(plain); !ok {
		return nil, false, fmt.Errorf("%w: its padding is not one", ErrDamaged)
	}
	return plain, true, nil
}

// unpad takes off the padding (RFC 5652, section 6.3).
func unpad(b []byte) ([]byte, bool) {
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return nil, false
	}
	n := int(b[len(b)-1])
	if n < 1 || n > aes.BlockSize {
		return nil, false
	}
	for _, c := range b[len(b)-n:] {
		if int(c) != n {
			return nil, false
		}
	}
	return b[:len(b)-n], true
}

// opened is the outcome for one text, made once for all who ask.
type opened struct {
	once  sync.Once
	plain []byte
	err   error
}

// maxOpened bounds how many outcomes are kept; each cost 10,000 rounds of SHA-256 or more.
const maxOpened = 100_000

// Decrypt decrypts a text with the first password that fits, those of the text's own vault ID first. The errors are
// ErrNoPassword, ErrPassword and ErrDamaged. The result is shared: it is for reading alone. A nil Keyring has no password.
func (k *Keyring) Decrypt(text string) ([]byte, error) {
	if k == nil || len(k.secrets) == 0 {
		return nil, ErrNoPassword
	}
	e, err := parse(text)
	if err != nil {
		return nil, err
	}
	o := k.entry(text)
	o.once.Do(func() { o.plain, o.err = k.try(e) })
	return o.plain, o.err
}

func (k *Keyring) entry(text string) *opened {
	sum := sha256.Sum256([]byte(text))
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.opened[sum]
	if o == nil {
		o = &opened{}
		if len(k.opened) < maxOpened {
			k.opened[sum] = o
		}
	}
	return o
}

func (k *Keyring) try(e envelope) ([]byte, error) {
	own, others := k.candidates(e.id)
	for _, s := range slices.Concat(own, others) {
		plain, ok, err := e.open(s.password)
		if ok || err != nil {
			return plain, err
		}
	}
	if len(own)+len(others) == 0 {
		return nil, fmt.Errorf("%w: none is for vault ID %q, and vault_id_match asks for just that", ErrPassword, e.id)
	}
	var ids []string
	for _, s := range slices.Concat(own, others) {
		ids = append(ids, s.id)
	}
	return nil, fmt.Errorf("%w (tried: %s; the text is for vault ID %q)", ErrPassword, strings.Join(ids, ", "), e.id)
}

// candidates are the passwords for a vault ID, and the others that may be tried.
func (k *Keyring) candidates(id string) (own, others []secret) {
	for _, s := range k.secrets {
		if s.id == id {
			own = append(own, s)
		} else if !k.match {
			others = append(others, s)
		}
	}
	return own, others
}
