package enrolltest

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// kernelError is what the kernel says, in strerror's words.
type kernelError string

func (e kernelError) Error() string { return string(e) }

const (
	errNoEntry  = kernelError("No such file or directory")
	errDenied   = kernelError("Permission denied")
	errExists   = kernelError("File exists")
	errNotEmpty = kernelError("Directory not empty")
	errIsDir    = kernelError("Is a directory")
	errNotDir   = kernelError("Not a directory")
	errNoSpace  = kernelError("No space left on device")
	errLoop     = kernelError("Too many levels of symbolic links")
	errReadOnly = kernelError("Read-only file system")
	errNotOwner = kernelError("Operation not permitted")
)

// may says whether the permission bits of a file (4 read, 2 write, 1 execute) let a user do something.
func (s *State) may(user string, f *File, bits uint32, more ...string) bool {
	switch {
	case user == "root":
		return bits&1 == 0 || f.Kind == Dir || f.Mode&0o111 != 0
	case f.Owner == user:
		return f.Mode>>6&bits == bits
	case slices.Contains(s.groupsOf(user), f.Group) || slices.Contains(more, f.Group):
		return f.Mode>>3&bits == bits
	}
	return f.Mode&bits == bits
}

// reach says whether a user may search every directory above a path.
func (s *State) reach(user, name string) error {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		switch f := s.Files[dir]; {
		case f == nil:
			return errNoEntry
		case f.Kind != Dir:
			return errNotDir
		case !s.may(user, f, 1):
			return errDenied
		}
		if dir == "/" {
			return nil
		}
	}
}

// lookup finds a file as a user sees it, without following a link.
func (s *State) lookup(user, name string) (*File, error) {
	if err := s.reach(user, name); err != nil {
		return nil, err
	}
	if f := s.Files[name]; f != nil {
		return f, nil
	}
	return nil, errNoEntry
}

// follow finds what a path leads to.
func (s *State) follow(user, name string) (*File, string, error) {
	for range 8 {
		f, err := s.lookup(user, name)
		if err != nil || f.Kind != Link {
			return f, name, err
		}
		if name = f.Target; !path.IsAbs(name) {
			return nil, "", errNoEntry
		}
	}
	return nil, "", errLoop
}

// entry checks that a user may make or remove an entry of a directory.
func (s *State) entry(user, name string) error {
	if err := s.reach(user, name); err != nil {
		return err
	}
	dir := s.Files[path.Dir(name)]
	if s.readOnly(path.Dir(name)) {
		return errReadOnly
	}
	if !s.may(user, dir, 3) {
		return errDenied
	}
	if f := s.Files[name]; f != nil && dir.Mode&0o1000 != 0 && user != "root" && f.Owner != user {
		return errDenied
	}
	return nil
}

// create makes a file that is not there.
func (s *State) create(user, name string, f File) error {
	if err := s.entry(user, name); err != nil {
		return err
	}
	switch {
	case s.Files[name] != nil:
		return errExists
	case s.Full:
		return errNoSpace
	}
	f.Owner = user
	f.Group = s.groupsOf(user)[0]
	if f.Kind == "" {
		f.Kind = Regular
	}
	s.Files[name] = &f
	return nil
}

// write is what > and >> do: an old file keeps its owner and mode.
func (s *State) write(user, name string, data []byte, add bool, umask uint32) error {
	f, real, err := s.follow(user, name)
	switch {
	case errors.Is(err, errNoEntry):
		return s.create(user, name, File{Mode: 0o666 &^ umask, Content: data})
	case err != nil:
		return err
	case f.Kind == Dir:
		return errIsDir
	case s.readOnly(real):
		return errReadOnly
	case !s.may(user, f, 2):
		return errDenied
	case s.Full && len(data) > 0:
		return errNoSpace
	}
	if add {
		data = append(slices.Clone(f.Content), data...)
	}
	s.Files[real].Content = data
	return nil
}

// below are the paths under a directory, deepest first.
func (s *State) below(dir string) []string {
	var out []string
	for name := range s.Files {
		if strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/") && name != "/" {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(b, a) })
	return out
}

// remove removes a file, or an empty directory.
func (s *State) remove(user, name string) error {
	if err := s.entry(user, name); err != nil {
		return err
	}
	switch {
	case s.Files[name] == nil:
		return errNoEntry
	case len(s.below(name)) > 0:
		return errNotEmpty
	}
	delete(s.Files, name)
	return nil
}

// rename moves a file or a tree over what is there.
func (s *State) rename(user, from, to string) error {
	for _, name := range []string{from, to} {
		if err := s.entry(user, name); err != nil {
			return err
		}
	}
	f := s.Files[from]
	if f == nil {
		return errNoEntry
	}
	if old := s.Files[to]; old != nil && old.Kind == Dir {
		return errIsDir
	}
	for _, name := range s.below(from) {
		s.Files[to+strings.TrimPrefix(name, from)] = s.Files[name]
		delete(s.Files, name)
	}
	delete(s.Files, from)
	s.Files[to] = f
	return nil
}

// own changes who owns a file; "" leaves it.
func (s *State) own(f *File, owner, group string) error {
	if owner != "" && s.Users[owner] == nil {
		return fmt.Errorf("invalid user: %q", owner)
	}
	if _, ok := s.Groups[group]; group != "" && !ok {
		return fmt.Errorf("invalid group: %q", group)
	}
	if owner != "" {
		f.Owner = owner
	}
	if group != "" {
		f.Group = group
	}
	return nil
}
