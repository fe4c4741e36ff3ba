package enrolltest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// flags splits arguments into one-letter flags and the rest; take says which flags have a value of their own.
func flags(args []string, take string) (set map[string]string, rest []string) {
	set = map[string]string{}
	for i := 1; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return set, append(rest, args[i+1:]...)
		case strings.HasPrefix(a, "--"):
			name, value, _ := strings.Cut(a, "=")
			set[name] = value
		case len(a) > 1 && a[0] == '-':
			for _, c := range a[1:] {
				set[string(c)] = ""
			}
			if last := a[len(a)-1:]; strings.Contains(take, last) && i+1 < len(args) {
				i++
				set[last] = args[i]
			}
		default:
			rest = append(rest, a)
		}
	}
	return set, rest
}

// each calls f for every operand and complains of what fails.
func (s *shell) each(program, what string, names []string, f func(string) error) int {
	code := 0
	for _, name := range names {
		if err := f(name); err != nil {
			code = s.complain("%s: %s '%s': %v", program, what, name, err)
		}
	}
	return code
}

// only fails the test for flags that are not modelled.
func (s *shell) only(args []string, set map[string]string, known string) bool {
	for f := range set {
		if !slices.Contains(strings.Fields(known), f) {
			s.unknown("%q", args)
			return false
		}
	}
	return true
}

func octal(text string, or uint32) (uint32, error) {
	if text == "" {
		return or, nil
	}
	n, err := strconv.ParseUint(text, 8, 16)
	return uint32(n), err
}

func (s *shell) makeDirs(name string, mode uint32) int {
	if name == "/" || s.host.s.Files[name] != nil {
		return 0
	}
	if code := s.makeDirs(path.Dir(name), mode); code != 0 {
		return code
	}
	if err := s.host.s.create(s.user, name, File{Kind: Dir, Mode: mode}); err != nil {
		return s.complain("mkdir: cannot create directory '%s': %v", name, err)
	}
	return 0
}

func shMkdir(s *shell, args []string) int {
	set, names := flags(args, "m")
	mode, err := octal(set["m"], 0o777&^s.umask)
	if !s.only(args, set, "m p") || err != nil {
		return s.unknown("%q", args)
	}
	if _, parents := set["p"]; parents {
		return s.makeDirs(names[0], mode)
	}
	return s.each("mkdir", "cannot create directory", names, func(name string) error {
		return s.host.s.create(s.user, name, File{Kind: Dir, Mode: mode})
	})
}

func shRmdir(s *shell, args []string) int {
	return s.each("rmdir", "failed to remove", args[1:], func(name string) error {
		if f := s.host.s.Files[name]; f != nil && f.Kind != Dir {
			return errNotDir
		}
		return s.host.s.remove(s.user, name)
	})
}

func shRm(s *shell, args []string) int {
	set, names := flags(args, "")
	if !s.only(args, set, "f r --one-file-system") {
		return s.last
	}
	_, tree := set["r"]
	_, force := set["f"]
	return s.each("rm", "cannot remove", names, func(name string) error {
		f, err := s.host.s.lookup(s.user, name)
		switch {
		case errors.Is(err, errNoEntry) && force:
			return nil
		case err != nil:
			return err
		case f.Kind == Dir && !tree:
			return errIsDir
		}
		for _, below := range s.host.s.below(name) {
			if err := s.host.s.remove(s.user, below); err != nil {
				return err
			}
		}
		return s.host.s.remove(s.user, name)
	})
}

// copyFile copies contents; with keep also owner and mode.
func (s *shell) copyFile(from, to string, keep bool) error {
	f, _, err := s.host.s.follow(s.user, from)
	switch {
	case err != nil:
		return err
	case f.Kind != Regular:
		return errIsDir
	case !s.host.s.may(s.user, f, 4):
		return errDenied
	}
	if err := s.host.s.write(s.user, to, slices.Clone(f.Content), false, s.umask); err != nil {
		return err
	}
	if made := s.host.s.Files[to]; keep && s.root() && made != nil {
		made.Mode, made.Owner, made.Group = f.Mode, f.Owner, f.Group
	}
	return nil
}

func shCp(s *shell, args []string) int {
	set, names := flags(args, "")
	if !s.only(args, set, "p f") || len(names) != 2 {
		return s.unknown("%q", args)
	}
	_, keep := set["p"]
	return s.each("cp", "cannot copy", names[:1], func(from string) error { return s.copyFile(from, names[1], keep) })
}

// shLn makes hard links, which nobody tells from copies here: what replaces a file makes a new one.
func shLn(s *shell, args []string) int {
	set, names := flags(args, "")
	if !s.only(args, set, "f") || len(names) != 2 {
		return s.unknown("%q", args)
	}
	return s.each("ln", "failed to link", names[:1], func(from string) error {
		f, err := s.host.s.lookup(s.user, from)
		if err != nil {
			return err
		}
		if err := s.host.s.entry(s.user, names[1]); err != nil {
			return err
		}
		link := *f
		s.host.s.Files[names[1]] = &link
		return nil
	})
}

func shMv(s *shell, args []string) int {
	set, names := flags(args, "")
	if !s.only(args, set, "f T") || len(names) != 2 {
		return s.unknown("%q", args)
	}
	return s.each("mv", "cannot move", names[:1], func(from string) error { return s.host.s.rename(s.user, from, names[1]) })
}

// change is what chown, chgrp and chmod have in common: links are followed, and only root is let. parse reads the first
// operand and returns what is done to each file.
func (s *shell) change(args []string, parse func(string) (func(*File) error, error)) int {
	set, rest := flags(args, "")
	if !s.only(args, set, "") || len(rest) < 2 {
		return s.unknown("%q", args)
	}
	f, err := parse(rest[0])
	if err != nil {
		return s.unknown("%q: %v", args, err)
	}
	return s.each(args[0], "cannot access", rest[1:], func(name string) error {
		file, _, err := s.host.s.follow(s.user, name)
		switch {
		case err != nil:
			return err
		case !s.root():
			return errNotOwner
		}
		return f(file)
	})
}

func shChown(s *shell, args []string) int {
	return s.change(args, func(who string) (func(*File) error, error) {
		owner, group, _ := strings.Cut(who, ":")
		return func(f *File) error { return s.host.s.own(f, owner, group) }, nil
	})
}

func shChgrp(s *shell, args []string) int {
	return s.change(args, func(group string) (func(*File) error, error) {
		return func(f *File) error { return s.host.s.own(f, "", group) }, nil
	})
}

func shChmod(s *shell, args []string) int {
	return s.change(args, func(text string) (func(*File) error, error) {
		mode, err := octal(text, 0)
		return func(f *File) error { f.Mode = mode; return nil }, err
	})
}

// shStat knows -c with %a, %U, %G, %s and %F.
func shStat(s *shell, args []string) int {
	set, names := flags(args, "c")
	if !s.only(args, set, "L c") || len(names) != 1 {
		return s.unknown("%q", args)
	}
	f, err := s.host.s.lookup(s.user, names[0])
	if _, deref := set["L"]; deref {
		f, _, err = s.host.s.follow(s.user, names[0])
	}
	if err != nil {
		return s.complain("stat: cannot statx '%s': %v", names[0], err)
	}
	text := strings.NewReplacer("%a", fmt.Sprintf("%o", f.Mode), "%U", f.Owner, "%G", f.Group,
		"%s", fmt.Sprint(len(f.Content))).Replace(set["c"])
	if strings.Contains(text, "%") {
		return s.unknown("%q", args)
	}
	return s.say("stat", text+"\n")
}

// shTar lists a .tar.gz (-tzf) or writes one member to stdout (-xzOf).
func shTar(s *shell, args []string) int {
	if len(args) < 3 || args[1] != "-tzf" && args[1] != "-xzOf" {
		return s.unknown("%q", args)
	}
	f, _, err := s.host.s.follow(s.user, args[2])
	if err != nil {
		return s.complain("tar: %s: Cannot open: %v", args[2], err)
	}
	z, err := gzip.NewReader(bytes.NewReader(f.Content))
	if err != nil {
		return s.complain("gzip: stdin: not in gzip format")
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && args[1] == "-tzf":
			return 0
		case err != nil:
			return s.complain("tar: %v", err)
		case args[1] == "-tzf":
			s.say("tar", h.Name+"\n")
		case h.Name == args[3]:
			data, err := io.ReadAll(r)
			if err != nil {
				return s.complain("tar: %v", err)
			}
			return s.say("tar", string(data))
		}
	}
}
