package token

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
)

func fileOf(name string) string { return name + ".yaml" }

// botFile is bot.yaml for the bot of fleet.yaml and bot-NAME.yaml for the others.
func (s *Set) botFile(b Bot) string {
	if b.Name == s.mainBot {
		return "bot.yaml"
	}
	return "bot-" + b.Name + ".yaml"
}

// Files returns what Write writes, by name.
func (s *Set) Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, b := range s.Bots {
		if len(b.Roles) == 0 {
			continue // nobody knows its roles any more; a file without them would take them away
		}
		content, err := b.YAML()
		if err != nil {
			return nil, fmt.Errorf("bot %s: %w", b.Name, err)
		}
		files[s.botFile(b)] = content
	}
	for _, t := range s.Tokens {
		if fileOf(t.Name) == TombstoneFile {
			return nil, &outcome.InputError{
				Msg:  "the file of token " + t.Name + " would be called " + TombstoneFile + ", which says who was taken out",
				Hint: "set another token.name in fleet.yaml"}
		}
		content, err := t.YAML()
		if err != nil {
			return nil, fmt.Errorf("token %s: %w", t.Name, err)
		}
		files[fileOf(t.Name)] = content
	}
	return files, nil
}

// writeFiles brings the files of a directory that are ours to exactly these. It removes the temporary files of a run
// that was killed.
func writeFiles(dir string, files map[string][]byte, ours func(string, []byte) bool) (changed []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, files[name]) {
			continue
		}
		if err := writeAtomically(path, files[name]); err != nil {
			return changed, err
		}
		changed = append(changed, name)
	}
	gone, err := removeStale(dir, files, ours)
	changed = append(changed, gone...)
	slices.Sort(changed)
	return changed, errors.Join(err, syncDir(dir))
}

// tempMark is in the name of every temporary file.
const tempMark = ".fleetctl-tmp-"

// writeAtomically replaces a file by way of a temporary one in the same directory.
func writeAtomically(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+tempMark+"*")
	if err != nil {
		return err
	}
	err = errors.Join(fillFile(f, content), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("%s stays as it was: %w", path, err)
	}
	return nil
}

// WriteFile replaces a file at once or, on a full disk, leaves it as it was.
func WriteFile(path string, content []byte) error { return writeAtomically(path, content) }

// fillFile writes a file to the disk.
func fillFile(f *os.File, content []byte) error {
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return f.Sync()
}

// removeStale removes files of ours that are not wanted any more, and temporary files.
func removeStale(dir string, wanted map[string][]byte, ours func(string, []byte) bool) (removed []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		temporary := strings.HasPrefix(name, ".") && strings.Contains(name, tempMark)
		if _, ok := wanted[name]; ok || !e.Type().IsRegular() || !temporary && !ours(name, headOfFile(path)) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
		if !temporary {
			removed = append(removed, name)
		}
	}
	return removed, nil
}

// contentsOf are the regular files of a directory that somebody wants by their name and how they begin; none where there is no
// such directory.
func contentsOf(dir string, wanted func(name string, head []byte) bool) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !e.Type().IsRegular() || !wanted(e.Name(), headOfFile(path)) {
			continue
		}
		if files[e.Name()], err = os.ReadFile(path); err != nil { //nolint:gosec // a file of the output directory
			return nil, err
		}
	}
	return files, nil
}

// headOfFile is how a file begins; nothing when it cannot be read.
func headOfFile(path string) []byte {
	f, err := os.Open(path) //nolint:gosec // a file of the output directory
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	begin := make([]byte, 128)
	n, _ := io.ReadFull(f, begin)
	return begin[:n]
}

// syncDir makes renames durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the output directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
