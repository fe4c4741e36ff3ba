package hostkeys

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
)

// Accept trusts a key for a name of which nothing was known, and records it: in memory and, unless file is empty, at the
// end of a file that is made when it is not there. It decides again, with everybody else locked out and with what others
// have added to the file meanwhile, so that of two keys for one name only the first is trusted. A key that cannot be
// written down is not trusted: the next run would trust another one.
func (k *KnownHosts) Accept(file, name string, key ssh.PublicKey, hashed bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if !recordable(name) {
		return &Error{
			Kind: fault.ErrHostKeyUnknown, Text: fmt.Sprintf("it shows %s key %s, which cannot be recorded: its name would be a pattern",
				key.Type(), ssh.FingerprintSHA256(key)),
			Hint: "add the key to known_hosts by hand",
		}
	}
	if file == "" {
		return k.acceptOnce(name, key, file, func() error { return nil })
	}
	return k.locked(file, func(f *os.File) error {
		return k.acceptOnce(name, key, file, func() error { return k.write(file, f, name, key, hashed) })
	})
}

// locked does something with a file that nobody else writes to meanwhile, and of which everything is known.
func (k *KnownHosts) locked(file string, do func(f *os.File) error) error {
	f, err := openLocked(file)
	if err != nil {
		return err
	}
	if err := k.catchUp(file, f); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(do(f), f.Close())
}

// Record adds several keys of a name of which nothing was known to a file, as Accept does with one.
func (k *KnownHosts) Record(file, name string, hashed bool, keys ...ssh.PublicKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !recordable(name) {
		return &Error{Kind: fault.ErrHostKeyUnknown, Text: "its name would be a pattern in known_hosts", Hint: "add the keys by hand"}
	}
	return k.locked(file, func(f *os.File) error {
		for _, key := range keys {
			if err := k.check([]string{name}, key, nil); !errors.Is(err, fault.ErrHostKeyUnknown) {
				return err // nil: somebody else just did
			}
		}
		for _, key := range keys {
			if err := k.write(file, f, name, key, hashed); err != nil {
				return err
			}
			k.add(newKnownKey(key, name, file, 0), "")
		}
		return nil
	})
}

// acceptOnce trusts a key where nothing else is known, once it is written.
func (k *KnownHosts) acceptOnce(name string, key ssh.PublicKey, file string, write func() error) error {
	err := k.check([]string{name}, key, nil)
	if !errors.Is(err, fault.ErrHostKeyUnknown) {
		return err // nil: somebody else just did
	}
	if err := write(); err != nil {
		return err
	}
	k.add(newKnownKey(key, name, file, 0), "")
	return nil
}

// recordable reports whether a name in known_hosts means itself (OpenSSH's check_host_key has the same list).
func recordable(name string) bool {
	if inner, ok := strings.CutPrefix(name, "["); ok {
		if i := strings.LastIndex(inner, "]:"); i >= 0 {
			name = inner[:i]
		}
	}
	return name != "" && !strings.ContainsAny(name, "@?*#[]|'\"\\!, \t\r\n\x00")
}

// openLocked opens a file to be appended to by one at a time; where the file system knows no locks, without.
func openLocked(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX), syscall.EINTR) {
		continue
	}
	return f, nil
}

// catchUp reads what was added to a file since it was read.
func (k *KnownHosts) catchUp(file string, f *os.File) error {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return err
	}
	from := k.seen[file]
	if st.Size() < from { // it was written anew
		from = 0
	}
	data, err := io.ReadAll(io.NewSectionReader(f, from, st.Size()-from))
	if err != nil {
		return err
	}
	k.parse(file, data, func(string, ...any) {})
	k.seen[file] = from + wholeLines(data)
	return nil
}

// wholeLines is how many bytes of data are lines that have ended.
func wholeLines(data []byte) int64 { return int64(bytes.LastIndexByte(data, '\n') + 1) }

// write appends one line with one write, so that other writers' lines stay whole, and mends a missing newline.
func (k *KnownHosts) write(file string, f *os.File, name string, key ssh.PublicKey, hashed bool) error {
	if hashed {
		name = hashedName(name)
	}
	line := name + " " + key.Type() + " " + base64.StdEncoding.EncodeToString(key.Marshal()) + "\n"
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() > 0 && st.Mode().IsRegular() {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, st.Size()-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = f.WriteString(line)
	return err
}

func hashedName(name string) string {
	salt := make([]byte, sha1.Size)
	_, _ = rand.Read(salt) // never fails: crypto/rand
	b64 := base64.StdEncoding.EncodeToString
	return "|1|" + b64(salt) + "|" + b64(hashName(salt, name))
}
