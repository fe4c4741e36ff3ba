package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// Where tbot comes from: the values of tbot.install.from.
const (
	installNone   = "none"
	installFile   = "file"
	installURL    = "url"
	installScript = "script"
)

// The kinds of things that tbot comes in.
const (
	kindBinary  = "binary"
	kindTarball = "tarball" // .tar.gz, .tgz: a Teleport release
	kindDeb     = "deb"
	kindRPM     = "rpm"
)

// DefaultBinary is where release binaries go, as Teleport's own packages put them.
const DefaultBinary = "/usr/local/bin/tbot"

// Installer is where tbot comes from, ready for use: files read, versions known. A nil Installer means that tbot must
// be there.
type Installer struct {
	From    string
	Version string              // of Teleport, without "v"; "" for a bare binary of which nothing says it
	ByArch  map[string]*Package // GOARCH; of file and url
	Proxy   string              // for downloads on the host
	Script  []byte              // of script: the cluster's installer
	Edition string              // of script: oss, enterprise or cloud

	downloads *downloads // for hosts that can't download themselves
}

// Package is one tbot for one architecture.
type Package struct {
	Kind   string
	SHA256 string // lower-case hex, of what Local or URL holds
	Size   int64  // of Local
	Local  string // a file of the controller that is pushed; a tarball's tbot has been taken out of it
	URL    string // what the host downloads
}

// Push is a large file that goes to the host in pieces that can be resumed, before the script that uses it. Where it is
// complete already, nothing is sent.
type Push struct {
	Local  string `json:"local,omitempty"`
	URL    string `json:"url,omitempty"` // where the controller gets it, for a host that can't
	Remote string `json:"remote"`
	SHA256 string `json:"sha256"` // lower-case hex
	Size   int64  `json:"size,omitempty"`

	via *downloads
}

// install plans tbot itself.
func (p *planner) install() {
	in := p.d.Install
	const name = "tbot"
	if link := p.f.Tbot.Link; strings.HasPrefix(link, "/opt/teleport/") || p.updaterOwns() {
		p.problem(name, outcome.TbotManaged, "Teleport's updater manages this tbot",
			"set tbot.install.from to none for this host, or take the updater away")
		return
	}
	if in.From == installScript {
		p.installScript(in)
		return
	}
	pkg := in.ByArch[p.f.Arch]
	if pkg == nil {
		p.problem(name, outcome.NoPackage, fmt.Sprintf("tbot.install has nothing for this architecture (%s)", cmp.Or(p.f.Arch, "unknown")),
			"it has "+strings.Join(slices.Sorted(maps.Keys(in.ByArch)), ", "))
		return
	}
	if pkg.Kind == kindDeb && !p.tool("dpkg") || pkg.Kind == kindRPM && !p.tool("rpm") {
		p.problem(name, outcome.WrongPackage, fmt.Sprintf("a .%s can't be installed here: the host has no %s", pkg.Kind,
			map[string]string{kindDeb: "dpkg", kindRPM: "rpm"}[pkg.Kind]), "give the host's group a tbot.install of its own")
		return
	}
	if why := p.installed(in, pkg); why != "" {
		p.done(name, "%s", why)
		return
	}
	p.installPackage(in, pkg)
}

func (p *planner) tool(name string) bool { return slices.Contains(p.f.Tools, name) }

// installed says why there is nothing to install; "" when there is.
func (p *planner) installed(in *Installer, pkg *Package) string {
	t := p.f.Tbot
	switch {
	case t.Path == "":
		return ""
	case pkg.Kind == kindBinary && pkg.Local != "" && t.SHA256 == pkg.SHA256:
		return t.Path + " is that file"
	case pkg.Kind == kindBinary && pkg.Local != "":
		return ""
	case in.Version != "" && t.Version == in.Version:
		return t.Path + " is version " + t.Version
	}
	return ""
}

func (p *planner) installReason() string {
	if t := p.f.Tbot; t.Path != "" {
		return fmt.Sprintf("%s is version %s, not %s", t.Path, cmp.Or(t.Version, "unknown"), cmp.Or(p.d.Install.Version, "the given one"))
	}
	return "it isn't there"
}

func (p *planner) installPackage(in *Installer, pkg *Package) {
	dest := string(p.d.Tbot.Binary)
	step := Step{Name: "tbot", Reason: p.installReason(), Installs: true}
	part := dest + ".fleetctl-part"
	if pkg.Kind == kindDeb || pkg.Kind == kindRPM {
		part = "/var/tmp/fleetctl-" + pkg.SHA256[:16] + "." + pkg.Kind
	}
	switch {
	case pkg.Local != "":
		step.Actions = append(step.Actions, Action{Push: &Push{Local: pkg.Local, Remote: part, SHA256: pkg.SHA256, Size: pkg.Size}})
	case p.tool("curl") || p.tool("wget"):
		step.Actions = append(step.Actions, Action{Script: downloadScript(in, pkg, part)})
	default:
		step.Actions = append(step.Actions, Action{Push: &Push{URL: pkg.URL, Remote: part, SHA256: pkg.SHA256, via: in.downloads}})
	}
	install, undo := unpackScript(pkg.Kind, part, dest)
	step.Actions = append(step.Actions, Action{Script: install})
	switch {
	case p.f.Tbot.Path != "":
		step.Undo = []Action{{Script: undo}}
	case pkg.Kind == kindBinary || pkg.Kind == kindTarball:
		step.Makes = Thing{Kind: ThingFile, Name: dest}
	}
	p.steps = append(p.steps, step)
	p.restart = append(p.restart, "tbot")
}

// downloadScript lets the host download: resumed where a part is there, and checked.
func downloadScript(in *Installer, pkg *Package, part string) string {
	var b strings.Builder
	if in.Proxy != "" {
		q := remote.Quote(in.Proxy)
		fmt.Fprintf(&b, "http_proxy=%[1]s; https_proxy=%[1]s; export http_proxy https_proxy\n", q)
	}
	fmt.Fprintf(&b, `url=%s part=%s sum=%s
umask 077
parents "$part"
good() { [ -f "$part" ] && [ "$(sha256sum <"$part" | cut -d' ' -f1)" = "$sum" ]; }
fetch() {
  if has curl; then curl -fsSL --retry 3 --connect-timeout 20 -C - -o "$part" "$url"
  else wget -q -c -T 60 -O "$part" "$url"; fi
}
if ! good; then
  fetch || { rm -f "$part"; fetch; }
  good || { rm -f "$part"; echo "what $url serves has another SHA-256 than tbot.install.sha256 says" >&2; exit 1; }
fi`, remote.Quote(pkg.URL), remote.Quote(part), remote.Quote(pkg.SHA256))
	return b.String()
}

// unpackScript makes the tbot at dest from the part, keeping the old one beside it, and the script that takes it back.
// From a tarball only tbot is taken. The rename is atomic: a running tbot keeps its own file.
func unpackScript(kind, part, dest string) (install, undo string) {
	vars := fmt.Sprintf("part=%s dest=%s\n", remote.Quote(part), remote.Quote(dest))
	keep := `if [ -f "$dest" ]; then ln -f "$dest" "$dest.previous" 2>/dev/null || cp -p "$dest" "$dest.previous"; fi` + "\n"
	finish := "chown root:root \"$new\"\nchmod 0755 \"$new\"\nmv -f \"$new\" \"$dest\"\n"
	undo = vars + `if [ -f "$dest.previous" ]; then mv -f "$dest.previous" "$dest"; fi`
	switch kind {
	case kindTarball:
		return vars + `parents "$dest"
member=$(tar -tzf "$part" | grep -m 1 -E '(^|/)tbot$') || { echo "the tarball holds no tbot" >&2; exit 1; }
new=$dest.fleetctl-new
tar -xzOf "$part" "$member" >"$new"
` + keep + finish + `rm -f "$part"`, undo
	case kindDeb:
		return vars + keep + "DEBIAN_FRONTEND=noninteractive dpkg -i \"$part\" >&2\nrm -f \"$part\"", undo
	case kindRPM:
		return vars + keep + "rpm -U --oldpackage --replacepkgs \"$part\" >&2\nrm -f \"$part\"", undo
	}
	return vars + "new=$part\n" + keep + finish, undo
}

// installScript runs the cluster's own installer.
func (p *planner) installScript(in *Installer) {
	if p.f.Tbot.Path != "" && p.f.Tbot.Version == in.Version {
		p.done("tbot", "%s is version %s", p.f.Tbot.Path, in.Version)
		return
	}
	if !p.tool("bash") || !p.tool("curl") && !p.tool("wget") {
		p.problem("tbot", outcome.InstallerNeeds, "the cluster's installer needs bash and curl or wget, and the host has not both",
			"install them, or use tbot.install.from: file or url")
		return
	}
	script := "parents " + DefaultBinary + "\n"
	if in.Proxy != "" {
		script += fmt.Sprintf("http_proxy=%[1]s; https_proxy=%[1]s; export http_proxy https_proxy\n", remote.Quote(in.Proxy))
	}
	dest := cmp.Or(p.f.Tbot.Path, DefaultBinary)
	keep := fmt.Sprintf("if [ -f %[1]s ]; then cp -p %[1]s %[1]s.previous; fi\n", remote.Quote(dest))
	script += keep + fmt.Sprintf("bash -s %s %s >&2", remote.Quote(in.Version), remote.Quote(in.Edition))
	step := p.do("tbot", p.installReason(), Action{Script: script, Stdin: in.Script})
	step.Installs = true
	if p.f.Tbot.Path != "" {
		_, undo := unpackScript(kindBinary, "", dest)
		step.Undo = []Action{{Script: undo}}
	}
	p.restart = append(p.restart, "tbot")
}

// Pieces of a push: small enough to keep sshd's channel buffer from growing, with a pause after each. See
// docs/enroll.md, "Installing tbot".
const (
	pushPiece = 64 << 10
	pushPause = time.Millisecond
)

// pacedReader gives pieces with pauses.
type pacedReader struct {
	ctx context.Context
	r   io.Reader
}

func (p pacedReader) Read(b []byte) (int, error) {
	select {
	case <-time.After(pushPause):
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
	return p.r.Read(b[:min(len(b), pushPiece)])
}

// send pushes the file: what is there already of it stays, as far as it goes; then the checksum decides, and a wrong
// one gets a second try from the start.
func (p Push) send(ctx context.Context, conn Conn) (err error) {
	if p.URL != "" {
		if p.Local, p.Size, err = p.via.get(ctx, p.URL, p.SHA256); err != nil {
			return err
		}
	}
	for range 2 {
		have, whole, err := p.there(ctx, conn)
		if err != nil || whole {
			return err
		}
		if err := p.rest(ctx, conn, have); err != nil {
			return err
		}
		if _, whole, err = p.there(ctx, conn); err != nil || whole {
			return err
		}
		if err := runScript(ctx, conn, "rm -f "+remote.Quote(p.Remote)); err != nil {
			return err
		}
	}
	return errors.New("the file arrived with a wrong checksum, twice")
}

// there asks how much of the file the host has, and whether it is whole.
func (p Push) there(ctx context.Context, conn Conn) (have int64, whole bool, err error) {
	script := fmt.Sprintf(`part=%s
parents "$part"
if [ -f "$part" ] && [ ! -L "$part" ]; then
  size=$(stat -c %%s "$part")
  if [ "$size" = %d ]; then sha256sum <"$part" | cut -d' ' -f1; else echo "$size"; fi
else rm -f "$part"; echo 0; fi`, remote.Quote(p.Remote), p.Size)
	out, err := conn.Run(ctx, remote.Cmd{Script: scriptPrelude + script, Become: true, MaxOutput: 4096})
	if err != nil {
		return 0, false, err
	}
	said := strings.TrimSpace(string(out.Stdout))
	if out.ExitCode != 0 {
		return 0, false, fmt.Errorf("%w (exit code %d): %s", errScript, out.ExitCode, remote.Clean(remote.Tail(string(out.Stderr), 300)))
	}
	if len(said) == 64 {
		return 0, said == p.SHA256, nil
	}
	have, err = strconv.ParseInt(said, 10, 64)
	if err != nil || have < 0 || have > p.Size {
		have = 0
	}
	return have, false, nil
}

// rest sends the file from an offset on.
func (p Push) rest(ctx context.Context, conn Conn, from int64) error {
	f, err := os.Open(p.Local)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	op := ">>"
	if from == 0 {
		op = ">"
	}
	out, err := conn.Run(ctx, remote.Cmd{
		Script: "umask 077; cat " + op + remote.Quote(p.Remote), Stdin: pacedReader{ctx, f}, Become: true, MaxOutput: 4096,
	})
	if err != nil {
		return err
	}
	if out.ExitCode != 0 {
		if bytes.Contains(out.Stderr, []byte("No space")) {
			return fmt.Errorf("%w: %s", remote.ErrNoSpace, remote.Clean(remote.Tail(string(out.Stderr), 300)))
		}
		return fmt.Errorf("%w (exit code %d): %s", errScript, out.ExitCode, remote.Clean(remote.Tail(string(out.Stderr), 300)))
	}
	return nil
}
