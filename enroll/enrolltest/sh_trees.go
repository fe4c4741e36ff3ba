package enrolltest

import (
	"path"
	"slices"
	"strings"
)

// shEmpty takes all that is in a directory; nothing where something else is mounted below.
func shEmpty(s *shell, args []string) int {
	dir := args[1]
	st := &s.host.s
	if f := st.Files[dir]; f != nil && f.Kind == Link {
		return s.complain("%s is a symbolic link by now", dir)
	}
	for _, at := range st.Mounts {
		if strings.HasPrefix(at, dir+"/") {
			return s.complain("%s is mounted there: it stays, and so does %s", at, dir)
		}
	}
	return s.each("rm", "cannot remove", st.below(dir), func(name string) error { return st.remove(s.user, name) })
}

// shEmptyOf takes the files of a user that lie in a directory.
func shEmptyOf(s *shell, args []string) int {
	st := &s.host.s
	if d := st.Files[args[1]]; d == nil || d.Kind != Dir {
		return 1
	}
	var names []string
	for _, name := range st.below(args[1]) {
		if f := st.Files[name]; path.Dir(name) == args[1] && f.Kind == Regular && f.Owner == args[2] {
			names = append(names, name)
		}
	}
	return s.each("rm", "cannot remove", names, func(name string) error { return st.remove(s.user, name) })
}

// shTree takes a directory with all that is in it; of a mount point, what is in it.
func shTree(s *shell, args []string) int {
	dir := args[1]
	if s.host.s.Files[dir] == nil {
		return 0
	}
	if code := shEmpty(s, args); code != 0 || slices.Contains(s.host.s.Mounts, dir) {
		return code
	}
	return s.each("rm", "cannot remove", []string{dir}, func(name string) error { return s.host.s.remove(s.user, name) })
}
