package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Prompt is, in place of a file, a source that asks a person.
const Prompt = "prompt"

// Bounds of a password and of the program that says one. A program may itself ask a person, or a remote store.
const (
	maxPassword   = 1 << 20
	programTime   = 5 * time.Minute
	unknownIDCode = 2 // what a client program ends with when it has no password for the vault ID
)

// Source is where a password comes from.
type Source struct {
	ID   string // its vault ID; "" for none
	From string // Prompt, a file, or a program that prints the password; ~ and $VARIABLES as Ansible expands them
}

// ParseSource reads ID@SOURCE or SOURCE, as Ansible writes vault IDs.
func ParseSource(text string) (Source, error) {
	id, from, ok := strings.Cut(text, "@")
	if !ok {
		id, from = "", text
	}
	if from == "" {
		return Source{}, fmt.Errorf("vault ID %q names no source: write ID@FILE, ID@PROGRAM or ID@prompt", text)
	}
	return Source{ID: id, From: from}, nil
}

func (s Source) id() string {
	if s.ID == "" {
		return DefaultID
	}
	return s.ID
}

// Options of a Keyring.
type Options struct {
	Sources []Source
	Match   bool // only a password of the text's own vault ID is tried (vault_id_match)

	// Ask asks a person for the password of a vault ID; nil: nobody can be asked.
	Ask func(id string) (string, error)

	// What programs have as standard input (nil: nothing to read) and standard error.
	Stdin  io.Reader
	Stderr io.Writer
}

// Keyring has the passwords. After Read, it may be used by several goroutines.
type Keyring struct {
	opts    Options
	match   bool
	read    bool
	secrets []secret

	mu     sync.Mutex
	opened map[[sha256.Size]byte]*opened
}

// New makes a Keyring that has read nothing yet.
func New(opts Options) *Keyring {
	return &Keyring{opts: opts, match: opts.Match, opened: map[[sha256.Size]byte]*opened{}}
}

// Read reads the passwords, asks for them and runs programs, once: it is called when something encrypted was found. As
// with Ansible, a source that fails is a warning when another one has a password, and the error when none has.
func (k *Keyring) Read(ctx context.Context) (warnings []string, err error) {
	if k == nil || k.read {
		return nil, nil
	}
	k.read = true
	var failed []error
	for _, s := range k.opts.Sources {
		password, err := k.password(ctx, s)
		if err != nil && (s.From == Prompt || ctx.Err() != nil) { // a person who was asked wants to hear of it
			return nil, err
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		k.secrets = append(k.secrets, secret{id: s.id(), password: password})
	}
	if len(k.secrets) == 0 {
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		warnings = append(warnings, err.Error())
	}
	return warnings, nil
}

func (k *Keyring) password(ctx context.Context, s Source) (string, error) {
	if s.From == Prompt {
		return k.ask(s.id())
	}
	path := expand(s.From)
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("vault password file %s: %w", path, bare(err))
	}
	if info.IsDir() {
		return "", fmt.Errorf("vault password file %s: is a directory", path)
	}
	var raw []byte
	if unix.Access(path, unix.X_OK) == nil && info.Mode()&0o111 != 0 {
		raw, err = k.runProgram(ctx, path, s.ID)
		raw = bytes.Trim(raw, "\r\n")
	} else {
		raw, err = readFile(path)
		raw = bytes.TrimSpace(raw)
	}
	if err != nil {
		return "", err
	}
	if IsEncrypted(raw) {
		if raw, err = k.Decrypt(string(raw)); err != nil {
			return "", fmt.Errorf("vault password file %s is encrypted itself: %w", path, err)
		}
		raw = bytes.Trim(raw, "\r\n")
	}
	if len(raw) == 0 {
		return "", fmt.Errorf("vault password file %s: there is no password in it", path)
	}
	return string(raw), nil
}

func (k *Keyring) ask(id string) (string, error) {
	if k.opts.Ask == nil {
		return "", fmt.Errorf("vault ID %s: nobody can be asked for its password here", id)
	}
	password, err := k.opts.Ask(id)
	if err != nil {
		return "", err
	}
	if password = strings.TrimSpace(password); password == "" {
		return "", fmt.Errorf("vault ID %s: no password was typed", id)
	}
	return password, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("vault password file %s: %w", path, bare(err))
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return nil, fmt.Errorf("vault password file %s: %w", path, bare(err))
	}
	if len(raw) > maxPassword {
		return nil, fmt.Errorf("vault password file %s: has more than %d KiB", path, maxPassword>>10)
	}
	return raw, nil
}

// runProgram runs a program that prints a password. One whose name ends in -client is told the vault ID. It stays in our
// process group, since it may ask a person on the terminal.
func (k *Keyring) runProgram(ctx context.Context, path, id string) ([]byte, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	client := strings.HasSuffix(strings.TrimSuffix(path, filepath.Ext(path)), "-client")
	var args []string
	if client && id != "" {
		args = []string{"--vault-id", id}
	}
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	out := &limited{left: maxPassword, stop: cancel}
	cmd := exec.CommandContext(ctx, abs, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = k.opts.Stdin, out, k.opts.Stderr
	cmd.WaitDelay = time.Second
	switch err := cmd.Run(); {
	case out.left < 0:
		return nil, fmt.Errorf("vault password program %s printed more than %d KiB", path, maxPassword>>10)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("vault password program %s: %w", path, ctx.Err())
	case client && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == unknownIDCode:
		return nil, fmt.Errorf("vault password program %s has no password for vault ID %q", path, id)
	case err != nil && cmd.ProcessState == nil:
		return nil, fmt.Errorf("vault password program %s cannot be run: %w; if it is no program, take its executable bit away",
			path, bare(err))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("vault password program %s: %w", path, err)
	}
	return out.kept.Bytes(), nil
}

// limited keeps what a program prints, and stops it when that is too much.
type limited struct {
	kept bytes.Buffer
	left int
	stop func()
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		l.stop()
		return len(p), nil
	}
	return l.kept.Write(p)
}

// expand replaces ~ by the home directory, and variables of the environment where they are set.
func expand(path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		if home, err := os.UserHomeDir(); err == nil {
			path = home + path[1:]
		}
	}
	return os.Expand(path, func(name string) string {
		if v, ok := os.LookupEnv(name); ok {
			return v
		}
		return "$" + name
	})
}

// bare takes the file name out of the error, which names it already.
func bare(err error) error {
	var perr *os.PathError
	if errors.As(err, &perr) {
		return perr.Err
	}
	return err
}
