package enrolltest

import (
	"fmt"
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
	v := &h.s.Service
	first, ends := v.starts, 0
	if v.State == "activating" || v.State == "active" && !v.joined {
		ends = map[bool]int{true: 1}[v.State == "activating"]
		h.tick()
	}
	state, by := h.health(a)
	if state == "joined" {
		delete(h.s.Files, a.vars["PENDING"])
	}
	out.kv("state", state)
	out.kv("by", by)
	if state != "joined" {
		if a.vars["TELLS"] == "" || ends == 0 {
			first = v.starts
		}
		lines := h.journal(a, first)
		for i, line := range lines[max(0, len(lines)-200):] {
			out.kv(fmt.Sprintf("log.%d", i+1), line)
		}
	}
	out.kv("end", 1)
	return out.String(), true
}

func (h *Host) health(a asked) (state, by string) {
	v, port := &h.s.Service, a.vars["DIAGPORT"]
	switch v.active() {
	case "activating":
		return "restarting", ""
	case "failed", "inactive":
		return "failed", ""
	}
	if port != "" && h.joins(a, port) {
		return "joined", "readyz"
	}
	fresh := h.fresh(a)
	refused, err := regexp.Compile(a.vars["REFUSED"])
	switch {
	case a.vars["JOINED"] == "" || a.vars["REFUSED"] == "" || err != nil:
		h.failf("not modelled: the verify script looks for %q and %q: %v", a.vars["JOINED"], a.vars["REFUSED"], err)
		return "failed", ""
	case latest(fresh, a.vars["JOINED"], refused):
		return "joined", "journal"
	case port != "" && a.vars["TRUST"] != "", slices.ContainsFunc(fresh, refused.MatchString):
		return "not-joined", ""
	}
	return "active", ""
}

// joins says whether tbot's health proves a join.
func (h *Host) joins(a asked, port string) bool {
	code, _ := h.ready(port, "/readyz")
	if code == "200" && a.vars["TRUST"] != "" {
		return true
	}
	own, _ := h.ready(port, "/readyz/identity")
	return a.vars["ASK"] != "" && own == "200"
}

// fresh are the last entries of the present start that are young enough, by whatever the journal tells starts apart.
func (h *Host) fresh(a asked) (out []string) {
	var young int64
	_, _ = fmt.Sscan(a.vars["YOUNG"], &young) // the script's own number
	for _, line := range h.s.Service.Journal {
		if line.start == h.s.Service.starts && line.At.Unix() >= young {
			out = append(out, line.Text)
		}
	}
	return out[max(0, len(out)-500):]
}

// latest says whether the last line that speaks of a join says that there was one.
func latest(lines []string, joined string, refused *regexp.Regexp) bool {
	for _, line := range slices.Backward(lines) {
		if yes := strings.Contains(line, joined); yes || refused.MatchString(line) {
			return yes
		}
	}
	return false
}

// journal are the entries of a start and later ones, where systemd tells starts apart, else those since a time.
func (h *Host) journal(a asked, start int) []string {
	var first int64
	_, _ = fmt.Sscan(a.vars["SINCE"], &first) // the script's own number
	var out []string
	for _, line := range h.s.Service.Journal {
		if a.vars["TELLS"] != "" && line.start >= start || a.vars["TELLS"] == "" && line.At.Unix() >= first {
			out = append(out, line.Text)
		}
	}
	return out
}

// probe answers a scan's first script for the user that asks.
func (h *Host) probe(user string, a asked) (string, bool) {
	for _, m := range regexp.MustCompile(`printf '([a-z]+)=%s\\n'`).FindAllStringSubmatch(a.text, -1) {
		a.keys = append(a.keys, m[1])
	}
	known := map[string]bool{"os": true, "arch": true, "uid": true, "device": true, "access": true}
	device, asks := a.vars["d"]
	if !asks || !h.check("the probe", a, "d", known) {
		h.failf("not modelled: the probe %q", a.text)
		return "", false
	}
	var out strings.Builder
	fmt.Fprintf(&out, "os=Linux\narch=%s\nuid=%d\n", h.s.Arch, h.s.Users[user].UID)
	if device == "" {
		device = h.s.tpmDevice()
	}
	if f, _, err := h.s.follow(user, device); device != "" && err == nil {
		out.WriteString("device=1\n")
		if h.s.may(user, f, 6) {
			out.WriteString("access=1\n")
		}
	}
	return out.String(), true
}

// tpmDevice is the device that go-attestation would take: of the TPM 2.0 that the kernel knows, and where it knows none,
// what lies in /dev.
func (s *State) tpmDevice() string {
	switch {
	case s.Sysfs && s.TPM12:
		return ""
	case s.Sysfs:
		return s.Device
	}
	for _, name := range []string{"/dev/tpmrm0", "/dev/tpm0"} {
		if s.Files[name] != nil {
			return name
		}
	}
	return ""
}
