package enrolltest

import (
	"path"
)

// shStage makes a directory that is root's alone.
func shStage(s *shell, args []string) int {
	if code := s.makeDirs(args[1], 0o755); code != 0 {
		return code
	}
	s.host.s.Files[args[1]].Mode = 0o700
	return 0
}

// shSole says whether something is a file of root's.
func shSole(s *shell, args []string) int {
	f, err := s.host.s.lookup(s.user, args[1])
	return truth(err == nil && f.Kind == Regular && f.Owner == "root")
}

// shMakeDir is makedir DIR MODE OWNER GROUP: a directory that was not there.
func shMakeDir(s *shell, args []string) int {
	dir := args[1]
	if code := s.makeDirs(path.Dir(dir), 0o755); code != 0 {
		return code
	}
	code := s.each("mkdir", "cannot create directory", []string{dir}, func(dir string) error {
		return s.host.s.create(s.user, dir, File{Kind: Dir, Mode: 0o700})
	})
	if code != 0 {
		return code
	}
	return shOwn(s, args)
}

// shOwn is own PATH MODE OWNER GROUP.
func shOwn(s *shell, args []string) int {
	if code := shChown(s, []string{"chown", args[3] + ":" + args[4], args[1]}); code != 0 {
		return code
	}
	return shChmod(s, []string{"chmod", args[2], args[1]})
}

func shRmFile(s *shell, args []string) int { return shRm(s, append([]string{"rm", "-f"}, args[1:]...)) }

// shGone removes an empty directory, and says nothing.
func shGone(s *shell, args []string) int { return truth(s.host.s.remove(s.user, args[1]) == nil) }
