package host

import (
	"bytes"
	"context"
	"errors"
	"fleetctl/remote"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// factsOfAll are the pieces in the order of the script: a later one may use what an earlier one has found.
func factsOfAll() []factsOf {
	return []factsOf{
		systemFacts, tbotProgramFacts, accountFacts, tpmFacts, storagesFacts, waysFacts, unitFacts, portFacts, otherFacts, dropInFacts,
		managedFacts, madeFacts,
	}
}

// factsScript asks for facts. It runs as root in POSIX sh with a core set of tools (coreutils or busybox), and changes
// nothing. What was asked for stands in variables on top, quoted.
func factsScript(d Desired) string {
	var vars, body, calls strings.Builder
	for _, p := range factsOfAll() {
		if p.vars != nil {
			vars.WriteString(assignments(p.vars(d)...))
		}
		body.WriteString(p.script)
		if p.calls != nil {
			calls.WriteString(strings.Join(p.calls(d), ""))
		}
	}
	return vars.String() + scriptPrelude + body.String() + calls.String() + "echo end=1\n"
}

// systemFacts are of the system as a whole.
var systemFacts = factsOf{
	script: systemScript,
	set: map[string]func(*Facts, string) error{
		"end":      func(*Facts, string) error { return nil },
		"uid":      func(f *Facts, v string) error { return setNumber(v, &f.uid) },
		"arch":     func(f *Facts, v string) error { f.arch = remote.GOARCH(v); return nil },
		"now":      func(f *Facts, v string) (err error) { f.Now, err = strconv.ParseInt(v, 10, 64); return err },
		"systemd":  func(f *Facts, v string) error { f.Systemd, _ = strconv.Atoi(v); return nil }, // no number: none that we know
		"udev":     func(f *Facts, v string) error { return setTruth(v, &f.udev) },
		"tools":    func(f *Facts, v string) error { f.tools = strings.Fields(v); return nil },
		"selinux":  func(f *Facts, v string) error { f.selinux = v; return nil },
		"apparmor": func(f *Facts, v string) error { return setTruth(v, &f.appArmor) },
	},
}

const systemScript = `kv uid "$(id -u)"
kv arch "$(uname -m)"
kv now "$(date +%s)"
if [ -d /run/systemd/system ] && has systemctl; then
  kv systemd "$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
fi
if has udevadm && [ -e /run/udev/control ]; then echo udev=1; fi
tools=
for c in bash curl wget dpkg rpm; do if has $c; then tools="$tools $c"; fi; done
kv tools "${tools# }"
if has getenforce; then kv selinux "$(getenforce 2>/dev/null)"; fi
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then echo apparmor=1; fi
`

// Limits of what facts may hold.
const (
	maxFactsOutput = 2 << 20
	maxFileContent = 64 << 10
	maxFactValue   = 4096
)

var errFacts = errors.New("facts: the host's answer can't be read")

// GatherFacts asks a host everything that a plan needs, as root, in one round trip.
func GatherFacts(ctx context.Context, conn Conn, d Desired) (*Facts, error) {
	out, err := conn.Run(ctx, remote.Cmd{Script: factsScript(d), Become: true, MaxOutput: maxFactsOutput})
	if err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	if out.ExitCode != 0 {
		return nil, fmt.Errorf("facts: the script ended with %d: %s", out.ExitCode, remote.Line(remote.Tail(string(out.Stderr), 300)))
	}
	f, err := parseFacts(out.Stdout, d)
	if err == nil {
		f.Skew = time.Until(time.Unix(f.Now, 0))
	}
	return f, err
}

// parseFacts reads the script's lines, "key=value" each. A key that is not known, comes twice or has a value of another
// form is an error: this is no place for guesses.
func parseFacts(out []byte, d Desired) (*Facts, error) {
	f := &Facts{
		uid: -1, ulimit: -1, dirs: map[int]dirFacts{}, ways: map[int]wayFacts{}, files: fileSet{},
		made: map[Thing]*string{}, above: map[string]string{}, dropIns: map[int]dropIn{},
	}
	p := factsParser{
		facts: f, files: d.managedFiles(), dirs: len(outputDirs(d.Tbot.Services)), ways: len(d.ways()), parts: factsOfAll(),
		things: d.things(), paths: d.paths(),
	}
	seen := map[string]bool{}
	for line := range bytes.Lines(out) {
		key, value, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		if !ok || seen[key] {
			return nil, fmt.Errorf("%w: line %q", errFacts, remote.Cut(string(line), 80))
		}
		seen[key] = true
		if err := p.line(key, value); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errFacts, remote.Cut(key, 40), err)
		}
	}
	if !seen["end"] {
		return nil, fmt.Errorf("%w: it is cut off", errFacts)
	}
	return f, nil
}

func (p *factsParser) line(key, value string) error {
	name, number, numbered := strings.Cut(key, ".")
	n, err := strconv.Atoi(number)
	numbered = numbered && err == nil && n >= 0
	for _, part := range p.parts {
		limit := maxFactValue
		if part.long != "" && (key == part.long || name == part.long) {
			limit = 2 * maxFileContent
		}
		if set, ok := part.set[key]; ok {
			return check(value, limit, func() error { return set(p.facts, value) })
		}
		if set, ok := part.each[name]; ok && numbered {
			return check(value, limit, func() error { return set(p, n, value) })
		}
	}
	return errors.New("unknown key")
}

// check refuses values that no honest script prints, before anything is made of them.
func check(value string, limit int, then func() error) error {
	if len(value) > limit {
		return errors.New("too long")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("not printable ASCII")
	}
	return then()
}
