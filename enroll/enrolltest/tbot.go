package enrolltest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
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

// since says whether a version is at least one of the given ones in its own major, or of a later major than all.
func since(version string, firsts ...string) bool {
	v := numbers(version)
	last := 0
	for _, first := range firsts {
		f := numbers(first)
		last = max(last, f[0])
		if v[0] == f[0] {
			return slices.Compare(v[:], f[:]) >= 0
		}
	}
	return v[0] > last
}

func numbers(version string) (out [3]int) {
	version, _, _ = strings.Cut(version, "-")
	for i, part := range strings.SplitN(version, ".", 3) {
		out[i], _ = strconv.Atoi(part) // a part that is none counts as 0
	}
	return out
}

const (
	red      = "\x1b[31mERROR: \x1b[0m" // written whether or not stderr is a terminal
	codeExec = 203                      // systemd.exec(5): EXEC, GROUP, USER
	codeGrp  = 216
	codeUser = 217
)

// fatal logs how a tbot ends: a message a level, the causes behind tabs, and an empty line.
func (h *Host) fatal(levels ...string) (int, string) {
	text := red
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
		if (name == "pid-file" || name == "diag-socket-for-updater") && !since(b.version, "17.7.10", "18.4.0") {
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

// identity is the file that stands for what a real tbot keeps of its identity: the token that it joined with.
const identity = "tlscert"

func (b *bot) join() (int, string) {
	token, _ := b.config.Onboarding["token"].(string)
	stored := path.Join(b.storage(), identity)
	old := b.s.Files[stored]
	err := b.ask(token)
	if err == nil {
		b.s.Service.joined = true
		b.s.Files[stored] = &File{
			Kind: Regular, Mode: 0o600, Owner: b.unit.user, Group: b.s.groupsOf(b.unit.user)[0], Content: []byte(token),
		}
		b.joinedLine()
		return 0, ""
	}
	if old != nil && string(old.Content) == token && since(b.version, "17.5.3", "18.0.1") {
		b.degraded(err)
		return 0, ""
	}
	if numbers(b.version)[0] < 16 {
		return b.fatal(err.Error())
	}
	b.info("Fetching bot identity using token identity/service.go:540")
	return b.fatal("joining with token", err.Error())
}

// degraded is a tbot that goes on with the identity that it has.
func (b *bot) degraded(cause error) {
	b.log(b.now().UTC().Format(time.RFC3339) + " ERRO [TBOT:IDEN] Failed to renew bot identity. " +
		"Will attempt to proceed with the old identity, API calls may fail error:[\nERROR REPORT:\n" +
		"Original Error: *interceptors.RemoteError " + cause.Error() + "\nStack Trace:\n" +
		"\t/go/src/github.com/gravitational/teleport/lib/tbot/x.go:1 tbot.X\n" +
		"User Message: renewing identity using Register with existing auth client\n\t" + cause.Error() + "] identity/service.go:272\n")
	b.info("Unable to renew bot identity on startup. Waiting to retry wait:1.3s identity/service.go:345")
}

// ask opens the TPM as tbot's user and asks the cluster.
func (b *bot) ask(token string) error {
	st := &b.s
	f := st.Files[st.Device]
	switch {
	case f == nil || !st.Sysfs || st.TPM12 || b.TPM == nil:
		return fmt.Errorf("TPM device not available")
	case !st.may(b.unit.user, f, 6, append(slices.Clone(b.unit.more), b.unit.group)...):
		return fmt.Errorf("open %s: permission denied", st.Device)
	case b.TPM.Err != nil:
		return fmt.Errorf("open %s: %w", st.Device, b.TPM.Err)
	case b.Cluster == nil:
		b.failf("tbot asks a cluster: Host.Cluster is not set")
		return fmt.Errorf("failed direct dial to auth server")
	case b.TPM.Claims != nil:
		return fmt.Errorf("validating TPM EK\n\tinvalid credential activation solution")
	}
	r := JoinRequest{Host: b.Name, EKHash: b.TPM.EKHash(), Cert: b.TPM.Cert, Token: token, Tbot: b.version}
	if cert, err := x509.ParseCertificate(b.TPM.Cert); err == nil {
		r.Serial = serialOf(cert)
	}
	return b.Cluster.Join(r)
}

// serialOf writes a serial number as Teleport does: big-endian hex pairs with ":" between.
func serialOf(cert *x509.Certificate) string {
	var pairs []string
	for _, c := range cert.SerialNumber.Bytes() {
		pairs = append(pairs, fmt.Sprintf("%02x", c))
	}
	return strings.Join(pairs, ":")
}

func (b *bot) joinedLine() {
	stop := ""
	if !since(b.version, "16.1.0") {
		stop = "."
	}
	now := b.now().UTC()
	b.info("Fetched new bot identity%s identity:%s, id=0b9d4c1e-8a53-4c55-9c46-2c6f0e1a7d11 | valid: after=%s, before=%s, "+
		"duration=1h1m0s | kind=tls, renewable=false, disallow-reissue=false, roles=[bot], "+
		"principals=[-teleport-internal-join], generation=1 identity/service.go:281",
		stop, b.Name, now.Format(time.RFC3339), now.Add(61*time.Minute).Format(time.RFC3339))
}

// output writes what a service has to write to its directory. It says whether it could: a service that cannot does not
// end tbot.
func (b *bot) output(service map[string]any) bool {
	to, _ := service["destination"].(map[string]any)
	dir, _ := to["path"].(string)
	if to["type"] != "directory" || dir == "" {
		return true
	}
	user, name := b.unit.user, path.Join(dir, "identity")
	if _, _, err := b.s.follow(user, dir); errors.Is(err, errNoEntry) {
		_ = b.s.create(user, dir, File{Kind: Dir, Mode: 0o700}) // what it could not make, the write says
	}
	if err := b.s.write(user, name, []byte("an identity\n"), false, 0o077); err != nil {
		b.log(red + "generating identity\n\topen " + name + ": " + lowerFirst(err.Error()) + "\n")
		return false
	}
	return true
}

// listen is what /readyz answers from now on: up to 17.5.3 and 18.0.1 it is 200 whatever happens.
func (b *bot) listen() {
	v := &b.s.Service
	healthy := v.joined
	for _, service := range append(slices.Clone(b.config.Services), b.config.Outputs...) {
		healthy = v.joined && b.output(service) && healthy
	}
	v.Diag, v.Ready = b.config.Diag, "200"
	if !healthy && since(b.version, "17.5.4", "18.0.2") {
		v.Ready = "503"
	}
}
