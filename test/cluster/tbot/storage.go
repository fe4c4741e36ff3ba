package tbot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/wire"
)

// Files of the storage directory.
const (
	identityFile = "identity.json" // the identity
	lockFile     = "lock"          // held as long as tbot runs
)

// noAccess is what tbot says of a directory that it may not use: samples journal-storage-denied.txt,
// lib/tbot/bot/destination/directory.go@12f28f2b.
func noAccess(err error, what, dir string) error {
	return cli.Wrap(plainPath(err), "Teleport does not have permission to %s: %s. Ensure that you are running as a user with "+
		"appropriate permissions.", what, dir)
}

// prepare makes the storage directory, if it is not there, and takes its lock, until the function that it returns is
// called. Whose it is and who else may read it is not checked: no such check was found in the source (versions.md, H).
func (d *Destination) prepare() (unlock func(), err error) {
	if d.Type == "memory" {
		return func() {}, nil
	}
	if err := d.links(); err != nil {
		return nil, err
	}
	info, err := os.Lstat(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(d.Path, 0o700); err != nil {
			return nil, noAccess(err, "write to", d.Path)
		}
		info, err = os.Lstat(d.Path)
	}
	switch {
	case err != nil:
		return nil, noAccess(err, "access", d.Path)
	case info.Mode()&fs.ModeSymlink == 0 && !info.IsDir():
		return nil, fmt.Errorf("%s: not a directory", d.Path)
	}
	return d.lock()
}

// links refuses symbolic links anywhere in the path, unless the configuration says that they may be there: try-secure opens
// with openat2 and RESOLVE_NO_SYMLINKS, and ELOOP is no reason to try less (lib/tbot/botfs).
func (d *Destination) links() error {
	if d.Symlinks == "insecure" || d.Type == "memory" {
		return nil
	}
	for at := filepath.Clean(d.Path); at != "/"; at = filepath.Dir(at) {
		if info, err := os.Lstat(at); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("openat2 %s: %w", d.Path, syscall.ELOOP)
		}
	}
	return nil
}

// lock takes the lock that keeps a second tbot out: sample journal-lock-held.txt.
func (d *Destination) lock() (unlock func(), err error) {
	path := filepath.Join(d.Path, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	switch {
	case errors.Is(err, fs.ErrPermission) && syscall.Access(d.Path, 1) != nil: // X_OK: it may not be searched
		return nil, noAccess(&fs.PathError{Op: "stat", Path: d.Path, Err: syscall.EACCES}, "access", d.Path)
	case err != nil:
		return nil, noAccess(err, "write to", d.Path)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, cli.Wrap(fmt.Errorf("locking %q", path),
			"Failed to acquire exclusive lock for tbot destination directory - is tbot already running?")
	}
	return func() { _ = f.Close() }, nil
}

// load returns the identity of the last join, or nil.
func (d *Destination) load() *wire.Identity {
	data, err := os.ReadFile(filepath.Join(d.Path, identityFile))
	if err != nil || d.Type == "memory" {
		return nil
	}
	var identity wire.Identity
	if json.Unmarshal(data, &identity) != nil {
		return nil
	}
	return &identity
}

// save keeps an identity.
func (d *Destination) save(identity *wire.Identity) error {
	if d.Type == "memory" {
		return nil
	}
	data, err := json.Marshal(identity)
	if err != nil {
		return err
	}
	tmp := filepath.Join(d.Path, identityFile+".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return noAccess(err, "write to", d.Path)
	}
	return os.Rename(tmp, filepath.Join(d.Path, identityFile))
}

// output renews what every service leaves in its destination. One that can't makes itself known in /readyz and in the
// journal, and does not end tbot (sample readyz-503-service.json).
func (b *bot) output(identity *wire.Identity) {
	names := b.config.serviceNames(b.V)
	for _, own := range names[1 : len(names)-len(b.config.Services)] {
		b.health.set(own, nil)
	}
	for i, service := range b.config.Services {
		name := names[len(names)-len(b.config.Services)+i]
		err := service.write(identity)
		if b.health.set(name, err); err != nil {
			b.log.report("Service failed: "+name, err, 310)
		}
	}
}

// write is output for one service. Other types than identity do nothing.
func (s Service) write(identity *wire.Identity) error {
	if s.Type != "identity" || s.Destination.Type != "directory" {
		return nil
	}
	text := fmt.Sprintf("stand-in for an identity file: bot %s, instance %s, issued %s\n",
		identity.Bot, identity.InstanceID, identity.IssuedAt.Format("2006-01-02T15:04:05Z"))
	err := s.Destination.links()
	if err == nil {
		err = os.MkdirAll(s.Destination.Path, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Destination.Path, "identity"), []byte(text), 0o600)
	}
	if errors.Is(err, fs.ErrPermission) {
		err = noAccess(err, "write to", s.Destination.Path)
	}
	return cli.Wrap(err, "generating identity")
}
