package enrolltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/shparse"
)

const (
	factVars = "U G A RULES DEV STORAGE BIN DEST UNIT PENDING DIAGHOST DIAGPORT SUM CONFIG"
	factKeys = `uid arch now systemd udev tools selinux apparmor tbot.path tbot.link tbot.sha256 tbot.fails ulimit last port.holder
		tbot.version user.uid user.comment user.groups user.nss group access.group access.nss rules
		device.sysfs device.tpm12 device.gives device.path device.others
		device.type device.stat device.opens storage.acl storage.filled pending service.load service.active service.enabled
		service.reload service.header service.start service.fragment service.user service.command ready ready.body`
	verifyVars = "DIAGHOST DIAGPORT TRUST ASK TELLS SINCE YOUNG WATCH LIMIT PENDING JOINED REFUSED"
	verifyKeys = "state by holder"
)

// facts answers the script that gathers facts.
func (h *Host) facts(user string, a asked) (string, bool) {
	out := newAnswer(factKeys)
	if !h.check("the facts' script", a, factVars, out.known) {
		return "", false
	}
	s := &h.s
	out.kv("uid", s.Users[user].UID)
	out.kv("arch", s.Arch)
	out.kv("now", h.now().Unix())
	if s.Systemd > 0 {
		out.kv("systemd", s.Systemd)
	}
	out.yes("udev", s.Udev)
	out.kv("tools", strings.Join(s.Tools, " "))
	if s.SELinux != "" {
		out.kv("selinux", s.SELinux)
	}
	out.yes("apparmor", s.AppArmor)
	h.tbotFacts(out, a)
	h.accountFacts(out, a)
	h.deviceFacts(out, a)
	h.storageFacts(out, a)
	h.otherFacts(out)
	h.dropInFacts(out)
	out.yes("pending", s.Files[a.vars["PENDING"]] != nil)
	h.serviceFacts(out, a)
	if !h.wayFacts(out, a) || !h.fileFacts(out, a) || !h.madeFacts(out, a) {
		return "", false
	}
	out.kv("end", 1)
	return out.String(), true
}

// tbotAt is the path of tbot: the one that is given, or the first that is there; "" for none.
func (h *Host) tbotAt(a asked) string {
	if at := a.vars["BIN"]; at != "" {
		return at
	}
	for _, c := range []string{tbotPath, "/opt/teleport/default/bin/tbot", "/opt/teleport/system/bin/tbot"} {
		if f, _, err := h.s.follow("root", c); err == nil && f.Mode&0o111 != 0 {
			return c
		}
	}
	return ""
}

func (h *Host) tbotFacts(out *answer, a asked) {
	at := h.tbotAt(a)
	f, real, err := h.s.follow("root", at)
	switch {
	case err != nil || f.Kind != Regular:
		return
	case f.Mode&0o111 == 0 && at == a.vars["BIN"]:
		out.kv("tbot.path", at)
		out.kv("tbot.fails", "its mode, or the file system that it lies on, lets nobody execute it")
		return
	case f.Mode&0o111 == 0:
		return
	}
	out.kv("tbot.path", at)
	if real != at {
		out.kv("tbot.link", real)
	}
	said := ""
	if v := tbotVersion(f.Content); v != "" {
		said = memcluster.VersionLine(v)
	}
	out.kv("tbot.version", said)
	if unless := a.vars["SUM"]; unless != "" && !strings.Contains(said, " v"+unless+" ") {
		sum := sha256.Sum256(f.Content)
		out.kv("tbot.sha256", hex.EncodeToString(sum[:]))
	}
}

func (h *Host) accountFacts(out *answer, a asked) {
	s := &h.s
	if u := s.Users[a.vars["U"]]; u != nil {
		out.kv("user.uid", u.UID)
		out.kv("user.comment", u.Comment)
		out.kv("user.groups", strings.Join(s.groupsOf(a.vars["U"]), " "))
	}
	_, group := s.Groups[a.vars["G"]]
	out.yes("group", group)
	_, access := s.Groups[a.vars["A"]]
	out.yes("access.group", access)
	rule := regexp.MustCompile(`(?m)^[^#\n]*KERNEL=="tpmrm.*GROUP="` + regexp.QuoteMeta(a.vars["A"]) + `"`)
	for _, name := range s.ruleFiles("") {
		if path.Base(name) != "60-fleetctl-tpm.rules" && rule.Match(s.Files[name].Content) {
			out.kv("rules", name)
			break
		}
	}
}

func (h *Host) deviceFacts(out *answer, a asked) {
	s := &h.s
	out.yes("device.sysfs", s.Sysfs && !s.TPM12)
	out.yes("device.tpm12", s.Sysfs && s.TPM12)
	dev := a.vars["DEV"]
	if dev == "" {
		dev = s.tpmDevice()
	}
	if dev != "" && s.Udev {
		out.kv("device.gives", s.gives(dev, a.vars["RULES"], a.vars["A"]))
	}
	f, _, err := s.follow("root", dev)
	if dev == "" || err != nil {
		return
	}
	out.kv("device.path", dev)
	kind := map[string]string{Char: "char", Socket: "socket"}[f.Kind]
	if kind == "" {
		kind = "other"
	}
	out.kv("device.type", kind)
	out.kv("device.stat", fmt.Sprintf("%o %s %s", f.Mode, f.Owner, f.Group))
	if s.Users[a.vars["U"]] != nil && f.Kind == Char {
		out.kv("device.opens", h.tpmOpens(dev, a.vars["U"]))
	}
}

func (h *Host) storageFacts(out *answer, a asked) {
	dir := a.vars["STORAGE"]
	h.dirFact(out, "storage", dir)
	if f := h.s.Files[dir]; f != nil && f.Kind == Dir {
		out.yes("storage.filled", len(h.s.below(dir)) > 0)
	}
	acl := "ok"
	if h.s.NoACL {
		acl = "none"
	}
	out.kv("storage.acl", acl)
}

func (h *Host) serviceFacts(out *answer, a asked) {
	s := &h.s
	if s.Systemd == 0 {
		return
	}
	v, fragment := &s.Service, s.fragment()
	load, enabled := "loaded", "disabled"
	switch {
	case v.Masked:
		load, enabled, fragment = "masked", "masked", maskedBy
	case fragment == "":
		load, enabled = "not-found", ""
	case v.Enabled:
		enabled = "enabled"
	}
	out.kv("service.load", load)
	out.kv("service.active", v.active())
	if f := s.Files[fragment]; f != nil && fragment != a.vars["UNIT"] {
		first, _, _ := strings.Cut(string(f.Content), "\n")
		out.kv("service.header", first)
		start := ""
		for line := range strings.Lines(string(f.Content)) {
			if value, ok := strings.CutPrefix(line, "ExecStart="); ok {
				start = strings.TrimSpace(value)
			}
		}
		out.kv("service.start", start)
	}
	if fragment != "" {
		u := s.unit()
		out.kv("service.fragment", fragment)
		out.kv("service.user", u.user)
		out.kv("service.command", u.start)
	}
	out.kv("service.enabled", enabled)
	out.kv("service.reload", map[bool]string{true: "yes", false: "no"}[fragment != "" && s.stale()])
	if port := a.vars["DIAGPORT"]; port != "" {
		if code, body := h.ready(port, "/readyz"); code != "" {
			out.kv("ready", code)
			out.kv("ready.body", strings.Join(strings.Fields(body), " "))
		}
	}
}

// ready is what a GET of a path of tbot's health says, by the tools that the host has for it: wget tells no body of an error.
func (h *Host) ready(port, path string) (code, body string) {
	v, tools := &h.s.Service, h.s.Tools
	reads := slices.Contains(tools, "curl") || slices.Contains(tools, "bash")
	switch {
	case !reads && !slices.Contains(tools, "wget"):
		return "", ""
	case v.active() != "active" || !strings.HasSuffix(v.Diag, ":"+port):
		return "000", ""
	}
	if code, body = v.readyz(path); !reads && code != "200" {
		body = ""
	}
	return code, body
}

// readyz answers at diag_addr. Up to 17.5.3 and 18.0.1 it is 200 whatever happens, and there are no services to ask for;
// later it is 503 while any service is not well.
func (v *Service) readyz(path string) (code, body string) {
	if !v.health {
		return map[bool]string{true: "200", false: "404"}[path == "/readyz"], ""
	}
	type service struct {
		Status string `json:"status"`
		Reason string `json:"reason,omitempty"`
	}
	all := map[string]service{"identity": {Status: "healthy"}, "heartbeat": {Status: "healthy"}}
	if !v.joined {
		all["identity"] = service{"unhealthy", "renewing identity"}
	}
	for name, why := range v.Unhealthy {
		all[name] = service{"unhealthy", why}
	}
	code, status := "200", "healthy"
	if name, one := strings.CutPrefix(path, "/readyz/"); one {
		s, known := all[name]
		switch {
		case !known:
			return "404", ""
		case s.Status != "healthy":
			code = "503"
		}
		raw, _ := json.Marshal(s) // strings: it can't fail
		return code, string(raw)
	}
	for _, s := range all {
		if s.Status != "healthy" {
			code, status = "503", "unhealthy"
		}
	}
	raw, _ := json.Marshal(map[string]any{"status": status, "pid": v.PID, "services": all})
	return code, string(raw)
}

func (h *Host) dirFact(out *answer, key, name string) {
	f, err := h.s.lookup("root", name)
	if err != nil {
		return
	}
	kind := "other"
	if f.Kind == Dir || f.Kind == Link {
		kind = f.Kind
	}
	out.kv("dir."+key, fmt.Sprintf("%s %o %s %s %d", kind, f.Mode, f.Owner, f.Group, 4096))
}

var factLine = regexp.MustCompile(`(?m)^(dir|file) ([0-9]+) ((?:[^\s'"]|'[^']*'|\\')+)$`)

// maxFactFile is the size up to which contents are shown.
const maxFactFile = 65536

// word is what a quoted word says.
func (h *Host) word(quoted string) (string, bool) {
	list, err := shparse.Parse(quoted)
	if err != nil {
		h.failf("not modelled: %q: %v", quoted, err)
		return "", false
	}
	return (&shell{}).text(list[0].Pipes[0].Cmds[0].Words[0]), true
}

// fileFacts answers the lines "dir N PATH" and "file N PATH" at the script's end.
func (h *Host) fileFacts(out *answer, a asked) bool {
	for _, m := range a.lines[factLine] {
		name, ok := h.word(m[3])
		if !ok {
			return false
		}
		if m[1] == "dir" {
			h.dirFact(out, m[2], name)
			continue
		}
		f, err := h.s.lookup("root", name)
		if err != nil {
			continue
		}
		kind := f.Kind
		if kind == Char || kind == Socket {
			kind = "other"
		}
		out.kv("file."+m[2], fmt.Sprintf("%s %o %s %s %d", kind, f.Mode, f.Owner, f.Group, len(f.Content)))
		if orig := h.s.Files[name+".orig"]; orig != nil {
			out.kv("orig."+m[2], map[bool]string{true: "same", false: "other"}[f.Kind == Regular && bytes.Equal(orig.Content, f.Content)])
		}
		if f.Kind == Regular && len(f.Content) <= maxFactFile {
			fmt.Fprintf(out, "data.%s=%s\n", m[2], hex.EncodeToString(f.Content))
		}
	}
	return true
}
