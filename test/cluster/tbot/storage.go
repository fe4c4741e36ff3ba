package tbot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"fleetctl/test/cluster/wire"
)

// identityFile holds the identity in the storage directory.
const identityFile = "identity.json"

// prepare makes the storage directory, or checks the one that is there: it must be a directory, not a symbolic link,
// owned by this user and closed to others.
func (s Storage) prepare() error {
	if s.Type == "memory" {
		return nil
	}
	info, err := os.Lstat(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(s.Path, 0o700); err != nil {
			return fmt.Errorf("initializing storage: %w", err)
		}
		info, err = os.Lstat(s.Path)
	}
	if err != nil {
		return fmt.Errorf("initializing storage: %w", err)
	}
	switch owner := info.Sys().(*syscall.Stat_t).Uid; {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("storage %s: path contains symlinks which is not permitted", s.Path)
	case !info.IsDir():
		return fmt.Errorf("storage %s: not a directory", s.Path)
	case int(owner) != os.Geteuid():
		return fmt.Errorf("storage %s: owned by uid %d, not by the user that tbot runs as (uid %d)",
			s.Path, owner, os.Geteuid())
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("storage %s: permissions are too open (%04o): expected 0700", s.Path, info.Mode().Perm())
	}
	return nil
}

// load returns the identity of the last join, or nil.
func (s Storage) load() *wire.Identity {
	data, err := os.ReadFile(filepath.Join(s.Path, identityFile))
	if err != nil || s.Type == "memory" {
		return nil
	}
	var identity wire.Identity
	if json.Unmarshal(data, &identity) != nil {
		return nil
	}
	return &identity
}

// save keeps an identity.
func (s Storage) save(identity *wire.Identity) error {
	if s.Type == "memory" {
		return nil
	}
	data, err := json.Marshal(identity)
	if err != nil {
		return err
	}
	tmp := filepath.Join(s.Path, identityFile+".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("saving identity: %w", err)
	}
	return os.Rename(tmp, filepath.Join(s.Path, identityFile))
}

// write renews what a service of type identity leaves in its destination.
func (s Service) write(identity *wire.Identity) error {
	if s.Type != "identity" || s.Destination.Type != "directory" {
		return nil
	}
	if err := os.MkdirAll(s.Destination.Path, 0o700); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	text := fmt.Sprintf("stand-in for an identity file: bot %s, instance %s, issued %s\n",
		identity.Bot, identity.InstanceID, identity.IssuedAt.Format("2006-01-02T15:04:05Z"))
	if err := os.WriteFile(filepath.Join(s.Destination.Path, "identity"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}
