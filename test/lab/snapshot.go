package lab

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// Snapshot is what a host has on its disk beyond the base image: a line a file, by path. The line holds type, mode,
// owner and content; times are left out.
type Snapshot map[string]string

// volatile are paths that a running host writes to by itself.
var volatile = []string{
	"/run", "/tmp", "/var/tmp", "/dev", "/proc", "/sys", "/var/log", "/var/lib/systemd", "/var/cache/ldconfig",
	"/etc/.pwd.lock",
}

// Snapshot reads the host's disk.
func (h *Host) Snapshot() (Snapshot, error) {
	upper := filepath.Join(h.dir, "upper")
	snap := Snapshot{}
	err := filepath.WalkDir(upper, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, upper)
		for _, skip := range volatile {
			if name == skip {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		if name == "" {
			return nil
		}
		snap[name], err = describe(path)
		return err
	})
	return snap, err
}

// InBase describes a path of the base image as a Snapshot does, or returns an error when it is not there.
func (l *Lab) InBase(path string) (string, error) { return describe(filepath.Join(l.base, path)) }

func describe(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	stat := info.Sys().(*syscall.Stat_t)
	line := fmt.Sprintf("%s %d:%d", info.Mode(), stat.Uid, stat.Gid)
	switch {
	case info.Mode()&fs.ModeCharDevice != 0 && stat.Rdev == 0:
		return "deleted", nil // an overlay's whiteout
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return line + " -> " + target, err
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		return fmt.Sprintf("%s %x", line, sum.Sum(nil)), err
	}
	return line, nil
}

// Diff lists what differs in a later snapshot: "+ path what" for what came, "- path" for what went, "~ path what" for
// what changed. Directories whose entries alone changed are not in it.
func (s Snapshot) Diff(later Snapshot) []string {
	var lines []string
	for path, now := range later {
		switch before, ok := s[path]; {
		case !ok && now == "deleted":
			lines = append(lines, "- "+path)
		case !ok:
			lines = append(lines, "+ "+path+" "+now)
		case before != now:
			lines = append(lines, "~ "+path+" "+now)
		}
	}
	for path := range s {
		if _, ok := later[path]; !ok {
			lines = append(lines, "- "+path)
		}
	}
	sort.Strings(lines)
	return lines
}
