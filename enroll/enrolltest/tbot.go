package enrolltest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/enrolltest/memcluster"
)

// Tbot is the content of a tbot of that version ("18.4.0"): a program that says its version, and that a Host knows.
func Tbot(version string) []byte {
	return []byte("#!/bin/sh\necho \"Teleport Enterprise v" + version + " git:v" + version + "-0-g0123456 go1.24.10\"\n")
}

// TbotTarball is a release of that version, as a .tar.gz.
func TbotTarball(version string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	content := Tbot(version)
	h := &tar.Header{Name: "teleport-ent/tbot", Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(h); err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	if _, err := w.Write(content); err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	return b.Bytes(), nil
}

var tbotSays = regexp.MustCompile(`Teleport (?:Enterprise )?v([0-9]+\.[0-9]+\.[0-9]+\S*) git:\S* go[0-9.]+`)

// tbotVersion is the version of a tbot by its content; "" for another program.
func tbotVersion(content []byte) string {
	if m := tbotSays.FindSubmatch(content); m != nil {
		return string(m[1])
	}
	return ""
}

const (
	codeExec = 203 // systemd.exec(5): EXEC, GROUP, USER
	codeGrp  = 216
	codeUser = 217
)

// fatal logs how a tbot ends: a message a level, the causes behind tabs, and an empty line.
func (h *Host) fatal(levels ...string) (int, string) {
	text := memcluster.Red
	for i, level := range levels {
		text += strings.Repeat("\t", i) + strings.ReplaceAll(level, "\n", "\n"+strings.Repeat("\t", i+1)) + "\n"
	}
	h.log(text + "\n")
	return 1, "exit-code"
}

func (h *Host) info(format string, args ...any) {
	h.log(h.now().UTC().Format("2006-01-02T15:04:05.000Z") + " INFO [TBOT:IDEN] " + fmt.Sprintf(format, args...) + "\n")
}

// runTbot runs what ExecStart says, as far as its start. It returns how the process ended; 0: it runs.
func (h *Host) runTbot(u unit) (code int, result string) {
	words := strings.Fields(u.start)
	if h.s.Users[u.user] == nil {
		return codeUser, "exit-code"
	}
	for _, g := range append(slices.Clone(u.more), u.group) {
		if _, known := h.s.Groups[g]; g != "" && !known {
			return codeGrp, "exit-code"
		}
	}
	if len(words) < 2 || words[1] != "start" {
		h.failf("not modelled: ExecStart=%s", u.start)
		return codeExec, "exit-code"
	}
	f, _, err := h.s.follow("root", words[0])
	if err != nil || f.Mode&0o111 == 0 {
		return codeExec, "exit-code"
	}
	b := &bot{Host: h, unit: u, version: tbotVersion(f.Content)}
	if b.version == "" {
		h.failf("not modelled: %s is no tbot", words[0])
		return codeExec, "exit-code"
	}
	return b.start(words[2:])
}

// bot is one process of tbot.
type bot struct {
	*Host
	unit    unit
	version string
	config  botConfig
}

// botConfig is what is read of /etc/tbot.yaml.
type botConfig struct {
	Version    string           `yaml:"version"`
	Proxy      string           `yaml:"proxy_server"`
	Auth       string           `yaml:"auth_server"`
	Diag       string           `yaml:"diag_addr"`
	Onboarding map[string]any   `yaml:"onboarding"`
	Storage    any              `yaml:"storage"`
	Services   []map[string]any `yaml:"services"`
	Outputs    []map[string]any `yaml:"outputs"`
}

// start goes through what a tbot does at its start, in its order.
func (b *bot) start(args []string) (int, string) {
	file, code, result := b.flags(args)
	if code != 0 {
		return code, result
	}
	for _, step := range []func() (int, string){
		func() (int, string) { return b.load(file) }, b.checkConfig, b.checkStorage, b.join,
	} {
		if code, result := step(); code != 0 {
			return code, result
		}
	}
	b.listen()
	return 0, ""
}

// botFlags are flags of "tbot start", and whether they take a value.
var botFlags = map[string]bool{
	"config": true, "debug": false, "insecure": false, "fips": false, "log-format": true, "oneshot": false, "token": true,
	"join-method": true, "auth-server": true, "proxy-server": true, "data-dir": true, "destination-dir": true,
	"diag-addr": true, "ca-pin": true, "certificate-ttl": true, "renewal-interval": true,
	"pid-file": true, "diag-socket-for-updater": true,
}

const botUsage = "Usage: tbot start [<flags>]\n\n" +
	"Starts the renewal bot, writing certificates to the data dir at a set interval.\n\n" +
	"Flags:\n  -d, --debug  Verbose logging to stdout.\n\n"

func (b *bot) flags(args []string) (file string, code int, result string) {
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		switch args[i] {
		case "-c":
			name = "config"
		case "-d":
			name = "debug"
		}
		takes, known := botFlags[name]
		if (name == "pid-file" || name == "diag-socket-for-updater") && !memcluster.Since(b.version, "17.7.10", "18.4.0") {
			known = false
		}
		if !known {
			b.log(botUsage)
			code, result = b.fatal("unknown long flag '--" + name + "'")
			return "", code, result
		}
		if takes && !given && i+1 < len(args) {
			i++
			value = args[i]
		}
		if name == "config" {
			file = value
		}
	}
	return file, 0, ""
}

// storage is the directory of tbot's own identity; "" for one in memory.
func (b *bot) storage() string {
	if m, ok := b.config.Storage.(map[string]any); ok {
		dir, _ := m["path"].(string)
		return dir
	}
	return "/var/lib/teleport/bot"
}

func (b *bot) checkStorage() (int, string) {
	dir := b.storage()
	if dir == "" {
		return 0, ""
	}
	f, _, err := b.s.follow(b.unit.user, dir)
	if errors.Is(err, errNoEntry) {
		err = b.s.create(b.unit.user, dir, File{Kind: Dir, Mode: 0o700})
		f = b.s.Files[dir]
	}
	if err == nil && !b.s.may(b.unit.user, f, 3) {
		err = errDenied
	}
	if err != nil {
		return b.fatal("Teleport does not have permission to access: "+dir+
			". Ensure that you are running as a user with appropriate permissions.",
			"stat "+dir+": "+lowerFirst(err.Error()))
	}
	return 0, ""
}
