package enrolltest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Service is tbot.service.
type Service struct {
	Enabled  bool
	Masked   bool
	State    string // active, activating (it waits for its next start), inactive, failed; "": inactive
	PID      int    // of the newest process
	Restarts int
	Result   string // "": success
	ExitCode int    // of the process that ended last
	Diag     string // diag_addr of the configuration that runs
	Journal  []Line

	// Unhealthy are services of the running tbot that are not well, and what they say.
	Unhealthy map[string]string

	user     string            // who it runs as
	loaded   map[string]string // the unit files as systemd has read them; nil: it has not
	starting bool              // guards against a start within a start
	joined   bool              // it has an identity of the token that it was given
	health   bool              // tbot says how its services are (17.5.4, 18.0.2 and later)
	starts   int               // how often it was started
}

// Line is one entry of the journal.
type Line struct {
	At   time.Time
	Text string

	start int // of the service, from 1: systemd's invocation
}

func (v *Service) active() string {
	if v.State == "" {
		return "inactive"
	}
	return v.State
}

const (
	tbotUnit = "tbot.service"
	unitDir  = "/etc/systemd/system/"
	tbotPath = "/usr/local/bin/tbot"
	maskedBy = "/dev/null"

	exitNoUnit = 5 // of systemctl, for a unit that is not there
)

// unitFiles are the files of tbot.service that there are, the unit first.
func (s *State) unitFiles() []string {
	var out []string
	for _, dir := range []string{unitDir, "/run/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if f := s.Files[dir+tbotUnit]; f != nil && f.Kind == Regular {
			out = append(out, dir+tbotUnit)
			break
		}
	}
	if len(out) == 0 {
		return nil
	}
	var dropIns []string
	read := map[string]bool{}
	for _, dir := range dropInDirs {
		for name, f := range s.Files {
			if path.Dir(name) == dir && strings.HasSuffix(name, ".conf") && f.Kind == Regular && !read[path.Base(name)] {
				read[path.Base(name)] = true
				dropIns = append(dropIns, name)
			}
		}
	}
	slices.SortFunc(dropIns, byBase)
	return append(out, dropIns...)
}

// dropInDirs are where systemd looks for drop-ins of tbot.service: of files of one name the first is read, and all are applied by
// their names.
var dropInDirs = []string{unitDir + tbotUnit + ".d", "/run/systemd/system/" + tbotUnit + ".d", "/usr/lib/systemd/system/" + tbotUnit + ".d",
	unitDir + "service.d"}

func byBase(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) }

func (s *State) readUnits() map[string]string {
	out := map[string]string{}
	for _, name := range s.unitFiles() {
		out[name] = string(s.Files[name].Content)
	}
	return out
}

// load reads the unit where systemd has not yet: it does so for whoever names a unit.
func (s *State) load() map[string]string {
	if len(s.Service.loaded) == 0 {
		s.Service.loaded = s.readUnits()
	}
	return s.Service.loaded
}

// stale says whether the unit files changed since systemd read them.
func (s *State) stale() bool {
	loaded, now := s.load(), s.readUnits()
	if len(loaded) != len(now) {
		return true
	}
	for name, text := range now {
		if loaded[name] != text {
			return true
		}
	}
	return false
}

// fragment is the unit file in use; "" for none.
func (s *State) fragment() string {
	for name := range s.load() {
		if path.Base(name) == tbotUnit {
			return name
		}
	}
	return ""
}

// unit is what the loaded files say together.
type unit struct {
	user, group string
	more        []string // supplementary groups
	pre         []string
	start       string
}

func (s *State) unit() unit {
	files := s.load()
	var names []string
	for name := range files {
		if path.Base(name) != tbotUnit {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, byBase)
	var u unit
	for _, name := range append([]string{s.fragment()}, names...) {
		section := ""
		for line := range strings.Lines(strings.ReplaceAll(files[name], "\\\n", " ")) {
			key, value, set := strings.Cut(strings.TrimSpace(line), "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if !set && strings.HasPrefix(key, "[") {
				section = key
			}
			if section != "[Service]" {
				continue
			}
			switch key {
			case "User":
				u.user = value
			case "Group":
				u.group = value
			case "SupplementaryGroups":
				u.more = append(u.more, strings.Fields(value)...)
			case "ExecStartPre":
				u.pre = append(u.pre, value)
			case "ExecStart":
				u.start = value
			}
		}
	}
	if u.user == "" {
		u.user = "root"
	}
	return u
}

// shSystemctl knows the calls for tbot.service.
func shSystemctl(s *shell, args []string) int {
	set, words := flags(args, "p")
	if !s.only(args, set, "--version --quiet --now p") || s.host.s.Systemd == 0 {
		return s.unknown("%q (systemd %d)", args, s.host.s.Systemd)
	}
	if _, version := set["--version"]; version {
		return s.say("systemctl", fmt.Sprintf("systemd %d (%d)\n", s.host.s.Systemd, s.host.s.Systemd))
	}
	if len(words) == 0 || !slices.Contains(systemctlVerbs, words[0]) || len(words) > 1 && words[1] != tbotUnit || !s.root() {
		return s.unknown("%q as %s", args, s.user)
	}
	_, now := set["--now"]
	return s.systemctl(words[0], now)
}

var systemctlVerbs = []string{"daemon-reload", "enable", "disable", "stop", "reset-failed", "restart", "start"}

func (s *shell) systemctl(verb string, now bool) int {
	st := &s.host.s
	v := &st.Service
	there := len(st.load()) > 0
	switch {
	case verb == "daemon-reload":
		v.loaded = st.readUnits()
		return 0
	case v.Masked && (verb == "restart" || verb == "start" || verb == "enable"):
		return s.complain("Failed to %s %s: Unit %s is masked.", verb, tbotUnit, tbotUnit)
	case !there && (verb == "restart" || verb == "start"):
		return exitNoUnit * s.complain("Failed to %s %s: Unit %s not found.", verb, tbotUnit, tbotUnit)
	case !there && verb == "stop":
		return exitNoUnit * s.complain("Failed to stop %s: Unit %s not loaded.", tbotUnit, tbotUnit)
	case !there:
		return s.complain("Failed to %s unit: Unit file %s does not exist.", verb, tbotUnit)
	}
	switch verb {
	case "enable":
		v.Enabled, v.loaded = true, st.readUnits() // it reloads, too
	case "disable":
		v.Enabled = false
		if v.loaded = st.readUnits(); now {
			v.State = "inactive"
		}
	case "stop":
		v.State = "inactive"
	case "reset-failed":
		v.Restarts = 0
		if v.State == "failed" {
			v.State = "inactive"
		}
	case "start":
		if v.State != "active" && v.State != "activating" {
			return s.host.start(s)
		}
	case "restart":
		return s.host.start(s)
	}
	return 0
}

// start is systemctl restart of Type=simple: that the process runs is all that it waits for.
func (h *Host) start(s *shell) int {
	v := &h.s.Service
	if v.starting {
		return s.unknown("a start within a start")
	}
	v.starting = true
	defer func() { v.starting = false }()
	u := h.s.unit()
	v.PID++
	if v.PID < 1000 {
		v.PID = 1000
	}
	v.starts++
	v.State, v.user, v.Diag, v.joined, v.health, v.Unhealthy = "activating", u.user, "", false, false, nil
	for _, pre := range u.pre {
		sub := h.newShell(s.ctx, "root", strings.NewReader(""), s.out, s.err)
		words := strings.Fields(strings.TrimLeft(pre, "+!-@"))
		words[0] = path.Base(words[0])
		if code := sub.call(words); code != 0 {
			v.ExitCode, v.Result = code, "exit-code"
			return s.complain("Job for %s failed because the control process exited with error code.", tbotUnit)
		}
	}
	if code, result := h.runTbot(u); code != 0 {
		v.ExitCode, v.Result = code, result
		return 0
	}
	v.State, v.ExitCode, v.Result = "active", 0, ""
	return 0
}

// Tick lets some seconds pass: a service that waits for its next start starts, and a tbot that could not renew tries
// again.
func (h *Host) Tick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tick()
}

func (h *Host) tick() {
	v := &h.s.Service
	switch {
	case v.State == "activating":
		v.Restarts++
	case v.State == "active" && !v.joined:
	default:
		return
	}
	h.start(h.newShell(h.t.Context(), "root", strings.NewReader(""), discard{}, discard{}))
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// log writes to tbot's journal, a line an entry.
func (h *Host) log(text string) {
	for line := range strings.Lines(text) {
		h.s.Service.Journal = append(h.s.Service.Journal, Line{h.now(), strings.TrimSuffix(line, "\n"), h.s.Service.starts})
	}
}
