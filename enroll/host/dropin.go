package host

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
)

// dropIn is a drop-in of tbot.service that fleetctl did not write.
type dropIn struct{ path, content string }

// systemdTypeDropIn is the first systemd that reads drop-ins for all services from service.d (NEWS of 244).
const systemdTypeDropIn = 244

// dropInFacts are of the drop-ins of others, by the order in which systemd looks for them: of files of one name the first is
// read. They need not be loaded: systemd reads them as soon as there is a unit.
var dropInFacts = factsOf{
	script: dropInScript,
	each: map[string]func(*factsParser, int, string) error{
		"dropin": func(p *factsParser, i int, v string) error {
			d := p.facts.dropIns[i]
			err := setPath(v, &d.path)
			p.facts.dropIns[i] = d
			return err
		},
		"conf": func(p *factsParser, i int, v string) error {
			raw, err := hex.DecodeString(v)
			d, ok := p.facts.dropIns[i]
			if !ok {
				return errors.New("content without a file")
			}
			d.content = string(raw)
			p.facts.dropIns[i] = d
			return err
		},
	},
	long: "conf",
}

const dropInScript = `n=0 read=
for d in /etc/systemd/system.control /run/systemd/system.control /run/systemd/transient /run/systemd/generator.early \
  /etc/systemd/system /run/systemd/system /run/systemd/generator /usr/local/lib/systemd/system /usr/lib/systemd/system \
  /lib/systemd/system /run/systemd/generator.late; do
  [ -d /run/systemd/system ] || break
  for c in "$d"/tbot.service.d/*.conf "$d"/service.d/*.conf; do
    w=${c##*/}
    case $read in *"/$w/"*) continue;; esac
    [ -f "$c" ] || [ -c "$c" ] || continue
    read="$read/$w/"
    case $c in /etc/systemd/system/tbot.service.d/10-fleetctl-*|/etc/systemd/system/tbot.service.d/20-fleetctl.conf) continue;; esac
    [ -f "$c" ] && [ "$(stat -L -c %s "$c")" -le 16384 ] && [ "$n" -lt 30 ] || continue
    n=$((n + 1))
    kv "dropin.$n" "$c"
    printf 'conf.%s=' "$n"; od -An -v -tx1 <"$c" | tr -d ' \n'; echo
  done
done
`

// settings are what drop-ins of others set in [Service], in the order in which systemd reads them: by their names.
func (f *Facts) settings() []setting {
	var list []dropIn
	for _, d := range f.dropIns {
		if path.Base(path.Dir(d.path)) == "service.d" && f.Systemd < systemdTypeDropIn {
			continue
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b dropIn) int {
		return cmp.Or(strings.Compare(path.Base(a.path), path.Base(b.path)), strings.Compare(a.path, b.path))
	})
	var all []setting
	for _, d := range list {
		all = append(all, settingsIn(d)...)
	}
	return all
}

// setting is one line of a drop-in.
type setting struct{ path, section, key, value string }

// settingsIn reads the syntax of systemd.syntax(7): sections, comments, and lines that go on behind a backslash.
func settingsIn(d dropIn) (all []setting) {
	section := ""
	text := strings.ReplaceAll(d.content, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		all = append(all, setting{d.path, section, strings.TrimSpace(key), strings.TrimSpace(value)})
	}
	return all
}

// dropIns compares what others' drop-ins set with what is planned. What makes another service of it is a problem: enroll would
// write files that don't count. What limits it or adds to it is somebody's wish, and stays.
func (p *planner) dropIns() {
	var bad, beside []string
	at := map[string]string{}
	for _, s := range p.overriding() {
		at[s.path] = s.path
		bad = append(bad, fmt.Sprintf("%s sets %s=%s", s.path, s.key, s.value))
	}
	for _, s := range p.f.settings() {
		if at[s.path] == "" {
			at[s.path] = s.path
			beside = append(beside, s.path)
		}
	}
	if len(bad) > 0 {
		p.problem("drop-ins", outcome.DropIn,
			"a drop-in of somebody else makes another service of "+UnitName+": "+strings.Join(bad, "; "), "")
		return
	}
	if len(beside) > 0 {
		p.done("drop-ins", "somebody else's stay: %s", strings.Join(beside, ", "))
	}
}

// overriding are the settings of others that change who runs what, or take away what tbot needs: of each key the one that
// counts in the end.
func (p *planner) overriding() (all []setting) {
	last := map[string]setting{}
	var keys []string
	reset := false
	for _, s := range p.f.settings() {
		if s.section != "Service" || p.answered(s) {
			continue
		}
		if _, known := last[s.key]; !known {
			keys = append(keys, s.key)
		}
		last[s.key] = s
		reset = reset || s.key == "ExecStart" && s.value == ""
	}
	for _, key := range keys {
		if s := last[key]; p.overrides(s) || key == "ExecStart" && !reset { // a second command beside ours
			all = append(all, s)
		}
	}
	return all
}

// answered says whether a drop-in of ours that comes later says otherwise.
func (p *planner) answered(s setting) bool {
	name := path.Base(s.path)
	switch s.key {
	case "ExecStart", "User", "Group":
		return p.f.updaterOwns() && name < path.Base(updaterPath)
	case "DeviceAllow":
		return name < path.Base(hardeningPath)
	}
	return false
}

// overrides says whether a setting is not what is planned. An empty value takes back what was set before.
func (p *planner) overrides(s setting) bool {
	t := p.d.Tbot
	switch s.key {
	case "ExecStart":
		return strings.Join(strings.Fields(s.value), " ") != p.start()
	case "User":
		return cmp.Or(s.value, "root") != t.User
	case "Group":
		return cmp.Or(s.value, "root") != t.Group
	case "SupplementaryGroups":
		return s.value == "" && t.User != "root"
	case "Type":
		return !slices.Contains([]string{"", "simple", "exec"}, s.value)
	case "DynamicUser", "PrivateDevices", "PrivateNetwork", "PrivateUsers":
		return !slices.Contains([]string{"", "no", "n", "false", "f", "off", "0"}, strings.ToLower(s.value))
	case "RootDirectory", "RootImage":
		return s.value != "" && s.value != "/"
	case "ExecCondition":
		return s.value != ""
	case "DeviceAllow":
		return s.value == ""
	case "InaccessiblePaths", "TemporaryFileSystem", "NoExecPaths":
		return p.hides(s.value)
	case "Environment":
		return telling.MatchString(s.value)
	}
	return false
}

// telling are the variables by which Teleport's programs are configured, but for the one that our unit sets.
var telling = regexp.MustCompile(`(?:^|[\s"'])(?:TBOT_|TELEPORT_(?:[B-Z]|A[A-MO-Z]))`)

// hides says whether one of these paths is above something that tbot needs.
func (p *planner) hides(list string) bool {
	needs := append(outputDirs(p.d.Tbot.Services), string(p.d.Tbot.Config), string(p.d.Tbot.Storage), p.f.device.path,
		cmp.Or(string(p.d.Tbot.Binary), p.f.tbot.path))
	for _, dir := range strings.Fields(list) {
		dir, _, _ = strings.Cut(strings.TrimLeft(dir, "-+"), ":")
		dir = strings.TrimSuffix(dir, "/")
		for _, need := range needs {
			if need == dir || strings.HasPrefix(need, dir+"/") {
				return true
			}
		}
	}
	return false
}

// start is the command that tbot is started with.
func (p *planner) start() string {
	return fmt.Sprintf("%s start -c %s", cmp.Or(string(p.d.Tbot.Binary), p.f.tbot.path), p.d.Tbot.Config)
}
