package enrolltest

import (
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// otherFacts are of tbots that somebody else started.
func (h *Host) otherFacts(out *answer) {
	if h.s.Systemd == 0 {
		return
	}
	for i, o := range h.s.Others {
		out.kv(fmt.Sprintf("other.%d", i+1), fmt.Sprintf("%d %s %s", o.PID, o.Unit, o.Command))
	}
}

// dropInFacts are of the drop-ins that fleetctl did not write.
func (h *Host) dropInFacts(out *answer) {
	if h.s.Systemd == 0 {
		return
	}
	n := 0
	read := map[string]bool{}
	for _, dir := range dropInDirs {
		var names []string
		for name := range h.s.Files {
			if path.Dir(name) == dir && strings.HasSuffix(name, ".conf") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			base := path.Base(name)
			f, _, err := h.s.follow("root", name)
			if err != nil || read[base] {
				continue
			}
			read[base] = true
			ours := strings.HasPrefix(base, "10-fleetctl-") || base == "20-fleetctl.conf"
			if ours && dir == dropInDirs[0] || f.Kind != Regular {
				continue
			}
			n++
			out.kv(fmt.Sprintf("dropin.%d", n), name)
			fmt.Fprintf(out, "conf.%d=%s\n", n, hex.EncodeToString(f.Content))
		}
	}
}

var (
	madeLine  = regexp.MustCompile(`(?m)^made ([0-9]+) ([a-z]+) ((?:[^\s'"]|'[^']*'|\\')+) (.+)$`)
	aboveLine = regexp.MustCompile(`(?m)^above ([0-9]+) ((?:[^\s'"]|'[^']*'|\\')+)$`)
)

// madeFacts answers the lines "made N KIND NAME BESIDES" and "above N PATH" at the script's end.
func (h *Host) madeFacts(out *answer, a asked) bool {
	for _, m := range a.lines[madeLine] {
		name, ok := h.word(m[3])
		besides, ok2 := h.word(m[4])
		if !ok || !ok2 {
			return false
		}
		if word := h.s.made(m[2], name, strings.Fields(besides)); word != "" {
			out.kv("made."+m[1], word)
		}
	}
	for _, m := range a.lines[aboveLine] {
		name, ok := h.word(m[2])
		if !ok {
			return false
		}
		dir := path.Dir(name)
		if h.s.Files[dir] != nil {
			continue
		}
		for h.s.Files[dir] == nil {
			dir = path.Dir(dir)
		}
		out.kv("above."+m[1], dir)
	}
	return true
}

// made is how a thing of the records is; "" where it is not there.
func (s *State) made(kind, name string, besides []string) string {
	f := s.Files[name]
	there := map[bool]string{true: "there"}
	switch kind {
	case "user":
		return there[s.Users[name] != nil]
	case "group":
		_, ok := s.Groups[name]
		for user := range s.Users {
			if ok && slices.Contains(s.groupsOf(user), name) && !slices.Contains(besides, user) {
				return "shared"
			}
		}
		return there[ok]
	case "member":
		return there[len(besides) == 1 && slices.Contains(s.groupsOf(besides[0]), name)]
	case "device":
		return there[f != nil && f.Kind == Char]
	case "file":
		return there[f != nil && f.Kind == Regular]
	}
	switch {
	case f == nil:
		return ""
	case f.Kind != Dir:
		return "other"
	case slices.Contains(s.Mounts, name):
		return "mounted"
	}
	return "there"
}
