package enrolltest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// verify answers the script that watches tbot, as it would end: time passes in the model alone.
func (h *Host) verify(a asked) (string, bool) {
	out := newAnswer(verifyKeys)
	if !h.check("the verify script", a, verifyVars, out.known) {
		return "", false
	}
	ends := 0
	if v := &h.s.Service; v.State == "activating" || v.State == "active" && !v.joined {
		ends = map[bool]int{true: 1}[v.State == "activating"]
		h.tick()
	}
	state, by := h.health(a)
	if state == "restarting" {
		ends = 2
	}
	ready := ""
	if port := a.vars["DIAGPORT"]; port != "" && h.s.Service.active() == "active" {
		ready = h.ready(port)
	}
	if state == "joined" {
		delete(h.s.Files, a.vars["PENDING"])
	}
	out.kv("state", state)
	out.kv("by", by)
	out.kv("ready", ready)
	out.kv("restarts", ends)
	if state != "joined" {
		lines := h.journal(a.vars["SINCE"])
		for i, line := range lines[max(0, len(lines)-20):] {
			out.kv(fmt.Sprintf("log.%d", i+1), line)
		}
	}
	out.kv("end", 1)
	return out.String(), true
}

func (h *Host) health(a asked) (state, by string) {
	port, trust := a.vars["DIAGPORT"], a.vars["TRUST"] != ""
	switch h.s.Service.active() {
	case "activating":
		return "restarting", ""
	case "failed", "inactive":
		return "failed", ""
	}
	if port != "" && trust && h.ready(port) == "200" {
		return "joined", "readyz"
	}
	for _, line := range h.journal(a.vars["SINCE"]) {
		if strings.Contains(line, "Fetched new bot identity") {
			return "joined", "journal"
		}
	}
	if port != "" && trust {
		return "not-joined", ""
	}
	return "active", ""
}

// journal are the entries since a time in Unix seconds.
func (h *Host) journal(from string) []string {
	var first int64
	_, _ = fmt.Sscan(from, &first) // the script's own number
	var out []string
	for _, line := range h.s.Service.Journal {
		if line.At.Unix() >= first {
			out = append(out, line.Text)
		}
	}
	return out
}

// probe answers a scan's first script for the user that asks.
func (h *Host) probe(user string, a asked) (string, bool) {
	devices := regexp.MustCompile(`for d in ([^;]+); do`).FindStringSubmatch(a.text)
	printed := regexp.MustCompile(`printf '([a-z]+)=%s\\n'`).FindAllStringSubmatch(a.text, -1)
	known := map[string]bool{"os": true, "arch": true, "uid": true, "device": true, "access": true}
	for _, m := range printed {
		a.keys = append(a.keys, m[1])
	}
	if devices == nil || !h.check("the probe", a, "", known) {
		h.failf("not modelled: the probe %q", a.text)
		return "", false
	}
	var out strings.Builder
	fmt.Fprintf(&out, "os=Linux\narch=%s\nuid=%d\n", h.s.Arch, h.s.Users[user].UID)
	for _, word := range strings.Fields(devices[1]) {
		for _, name := range slices.Sorted(maps.Keys(h.s.Files)) {
			f := h.s.Files[name]
			if ok, _ := path.Match(strings.Trim(word, "'"), name); !ok || f.Kind != Char && f.Kind != Socket {
				continue
			}
			out.WriteString("device=1\n")
			if h.s.may(user, f, 6) {
				out.WriteString("access=1\n")
			}
			return out.String(), true
		}
	}
	return out.String(), true
}
