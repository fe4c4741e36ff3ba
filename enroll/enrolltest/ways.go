package enrolltest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

var wayLine = regexp.MustCompile(`(?m)^way ([0-9]+) ("\$b"|(?:[^\s'"]|'[^']*'|\\')+) ([a-z]+)$`)

// wayFacts answers the lines "way N PATH WANT" at the script's end.
func (h *Host) wayFacts(out *answer, a asked) bool {
	last := h.lastUser(a)
	if last != "" {
		out.kv("last", last)
	}
	for _, m := range a.lines[wayLine] {
		name := h.binary(a)
		if m[2] != `"$b"` {
			var ok bool
			if name, ok = h.word(m[2]); !ok {
				return false
			}
		}
		w := way{host: h, out: out, n: m[1], name: name, want: m[3], user: a.vars["U"], group: a.vars["G"], last: last}
		w.answer()
	}
	return true
}

// lastUser is whom the unit names that we wrote, where it is not tbot's user.
func (h *Host) lastUser(a asked) string {
	f := h.s.Files[a.vars["UNIT"]]
	if f == nil || f.Kind != Regular || !strings.HasPrefix(string(f.Content), "# Written by fleetctl enroll") {
		return ""
	}
	last := ""
	for line := range strings.Lines(string(f.Content)) {
		if v, ok := strings.CutPrefix(line, "User="); ok {
			last = strings.TrimSpace(v)
		}
	}
	if last == a.vars["U"] {
		return ""
	}
	return last
}

// binary is where the tbot that there is really lies, or where it would be put.
func (h *Host) binary(a asked) string {
	at := h.tbotAt(a)
	if at == "" {
		at = a.vars["DEST"]
	}
	if _, real, err := h.s.follow("root", at); err == nil {
		return real
	}
	return at
}

// way is one path, as tbot's user goes it.
type way struct {
	host              *Host
	out               *answer
	n, name, want     string
	user, group, last string
}

func (w way) answer() {
	s := &w.host.s
	there, shut := "/", ""
	link, rest := "", strings.Split(strings.Trim(w.name, "/"), "/")
	if w.shut("/") {
		shut = "/"
	}
	for i := range rest[:len(rest)-1] {
		at := "/" + path.Join(rest[:i+1]...)
		f := s.Files[at]
		if f != nil && f.Kind == Link && link == "" {
			link = at
		}
		f, _, err := s.follow("root", at)
		if err == nil && f.Kind != Dir {
			w.out.kv("nodir."+w.n, at)
		}
		if err != nil || f.Kind != Dir {
			break
		}
		there = at
		if shut == "" && w.want != "room" && w.shut(at) {
			shut = at
		}
	}
	if link != "" {
		w.out.kv("link."+w.n, link+" "+s.Files[link].Target+strings.TrimPrefix(w.name, link))
	}
	if shut != "" {
		f, _, _ := s.follow("root", shut) // it is there
		w.out.kv("shut."+w.n, fmt.Sprintf("%s %o %s %s", shut, f.Mode, f.Owner, f.Group))
	}
	w.atItsEnd(there, shut)
}

// atItsEnd says what may be done with the path itself.
func (w way) atItsEnd(there, shut string) {
	s := &w.host.s
	f, _, err := s.follow("root", w.name)
	if bits := map[string]uint32{"x": 1, "rw": 3}[w.want]; err == nil && shut == "" && bits != 0 {
		may := "denied"
		if w.may(f, bits) && (bits == 1 || !s.readOnly(w.name)) {
			may = "ok"
		}
		w.out.kv("usable."+w.n, may)
	}
	if own := s.Files[w.name]; own != nil && own.Kind == Dir {
		there = w.name
		if w.want == "rw" && w.last != "" && w.left() {
			w.out.kv("left."+w.n, 1)
		}
	}
	state, free := "rw", "1048576"
	if s.readOnly(there) {
		state = "ro"
	}
	if s.Full {
		free = "0"
	}
	w.out.kv("room."+w.n, there+" "+state+" "+free+" -")
}

func (w way) left() bool {
	s := &w.host.s
	return slices.ContainsFunc(append(s.below(w.name), w.name), func(n string) bool { return s.Files[n].Owner == w.last })
}

// shut says whether tbot's user can't search a directory.
func (w way) shut(dir string) bool {
	f, _, err := w.host.s.follow("root", dir)
	return err == nil && !w.may(f, 1)
}

// may is of a user who may not be there yet: then the bits of all others count, and of its group.
func (w way) may(f *File, bits uint32) bool {
	if w.host.s.Users[w.user] != nil {
		return w.host.s.may(w.user, f, bits)
	}
	mode := f.Mode
	if f.Group == w.group {
		mode |= f.Mode >> 3
	}
	return mode&bits == bits
}

// shHandover is handover DIR FROM TO GROUP: what belongs to a user changes hands, below directories that are its own.
func shHandover(s *shell, args []string) int {
	st := &s.host.s
	if len(args) != 5 || st.Users[args[2]] == nil || st.Users[args[3]] == nil {
		return 1
	}
	dir, from, to, group := args[1], args[2], args[3], args[4]
	if group == "" {
		group = st.Users[to].Group
	}
	if f := st.Files[dir]; f == nil || f.Kind != Dir || !s.root() {
		return s.complain("cd: %s: %v", dir, errNoEntry)
	} else if f.Owner != from && f.Owner != to {
		return 0
	}
	for _, name := range append(st.below(dir), dir) {
		f, above := st.Files[name], st.Files[path.Dir(name)]
		if f.Owner != from || name != dir && above.Owner != from && above.Owner != to {
			continue
		}
		if err := st.own(f, to, group); err != nil {
			return s.complain("chown: %v", err)
		}
	}
	return 0
}

// readOnly says whether a path lies on a file system that is mounted for reading alone.
func (s *State) readOnly(name string) bool {
	return slices.ContainsFunc(s.ReadOnly, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") })
}
