package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"fleetctl/inventory/values"
	"fleetctl/inventory/vault"
)

// keys decrypts what an inventory has. The passwords are read when the first encrypted thing is met, and while the
// inventory is loaded, so that nobody is asked who need not be, and nobody is asked in the middle of a run.
type keys struct {
	ring     *vault.Keyring
	ignore   bool // go on without what nothing decrypts
	warnings []string
}

// sealedFile is an encrypted file that nothing decrypts, and why.
type sealedFile struct {
	path string
	err  error
}

func (s *sealedFile) Error() string { return s.err.Error() }

// locked is the error of a host that has variables in the file.
func (s *sealedFile) locked() error {
	return fmt.Errorf("%s is %w: %w; any variable of the connection may be in it", s.path, values.ErrSealed, s.err)
}

// Unwrap are ErrSealed and why.
func (s *sealedFile) Unwrap() []error { return []error{values.ErrSealed, s.err} }

// mention reads the passwords if the text has something encrypted in it.
func (k *keys) mention(ctx context.Context, text []byte) error {
	if !bytes.Contains(text, []byte(vault.Header)) {
		return nil
	}
	warnings, err := k.ring.Read(ctx)
	if err != nil && k.ignore && ctx.Err() == nil {
		warnings, err = []string{err.Error()}, nil
	}
	k.warnings = append(k.warnings, warnings...)
	return err
}

// file is the content of a file, decrypted where it is encrypted. wasSealed says that it was. The error is a *sealedFile
// where nothing decrypts it.
func (k *keys) file(ctx context.Context, path string, data []byte) (plain []byte, wasSealed bool, err error) {
	if err := k.mention(ctx, data); err != nil {
		return nil, false, err
	}
	if !bytes.HasPrefix(data, []byte(vault.Header)) {
		return data, false, nil
	}
	plain, err = k.ring.Decrypt(string(data))
	if err != nil {
		return nil, true, &sealedFile{path: path, err: err}
	}
	return bytes.Clone(plain), true, nil
}

// concealed takes the words of a file that was encrypted out of an error about them; the place stays.
func concealed(err error, wasSealed bool) error {
	if e := (*Error)(nil); wasSealed && errors.As(err, &e) {
		return errorAt(e.Pos, "there is a mistake here in the decrypted file, which is not shown (ansible-vault view shows it)")
	}
	return err
}

// open decrypts a single value.
func (k *keys) open(v values.Vault) (string, error) {
	var ring *vault.Keyring
	if k != nil {
		ring = k.ring
	}
	plain, err := ring.Decrypt(v.Text)
	if err != nil {
		return "", &sealedValue{place: v.Place, err: err}
	}
	return string(plain), nil
}

// sealedValue is an encrypted value that nothing decrypts, and why.
type sealedValue struct {
	place string
	err   error
}

func (s *sealedValue) Error() string {
	if s.place == "" {
		return fmt.Sprintf("is %v: %v", values.ErrSealed, s.err)
	}
	return fmt.Sprintf("is %v (%s): %v", values.ErrSealed, s.place, s.err)
}

// Unwrap are ErrSealed and why.
func (s *sealedValue) Unwrap() []error { return []error{values.ErrSealed, s.err} }
