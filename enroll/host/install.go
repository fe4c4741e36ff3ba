package host

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
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

// defaultBinary is where release binaries go, as Teleport's own packages put them.
const defaultBinary = "/usr/local/bin/tbot"

// Installer is where tbot comes from, ready for use: files read, versions known. A nil Installer means that tbot must
// be there.
type Installer struct {
	from    string
	version versions.Version    // of Teleport; the zero Version for a bare binary of which nothing says it
	byArch  map[string]*release // GOARCH; of file and url
	proxy   string              // for downloads on the host
	script  []byte              // of script: the cluster's installer
	edition string              // of script: oss, enterprise or cloud

	downloads *downloads // for hosts that can't download themselves
}

// release is one tbot for one architecture.
type release struct {
	kind   string
	sha256 string // lower-case hex, of what local or url holds
	size   int64  // of local
	local  string // a file of the controller that is pushed; a tarball's tbot has been taken out of it
	url    string // what the host downloads
}

// Installing is what a host should be like whose tbot comes from an installer; nil: tbot is there.
func (d Desired) Installing(in *Installer) Desired {
	d.install = in
	if in != nil && in.byArch != nil {
		d.Tbot.Binary = cmp.Or(d.Tbot.Binary, defaultBinary)
	}
	return d
}

// install plans tbot itself.
func (p *planner) install() {
	in := p.d.install
	const name = "tbot"
	if link := p.f.tbot.link; strings.HasPrefix(link, "/opt/teleport/") || p.f.updaterOwns() {
		p.problem(name, outcome.TbotManaged, "Teleport's updater manages this tbot",
			"set tbot.install.from to none for this host, or take the updater away")
		return
	}
	if in.from == installScript {
		p.installScript(in)
		return
	}
	pkg := in.byArch[p.f.arch]
	if pkg == nil {
		p.problem(name, outcome.NoPackage, fmt.Sprintf("tbot.install has nothing for this architecture (%s)", cmp.Or(p.f.arch, "unknown")),
			"it has "+strings.Join(slices.Sorted(maps.Keys(in.byArch)), ", "))
		return
	}
	if pkg.kind == kindDeb && !p.tool("dpkg") || pkg.kind == kindRPM && !p.tool("rpm") {
		p.problem(name, outcome.WrongPackage, fmt.Sprintf("a .%s can't be installed here: the host has no %s", pkg.kind,
			map[string]string{kindDeb: "dpkg", kindRPM: "rpm"}[pkg.kind]), "give the host's group a tbot.install of its own")
		return
	}
	if why := p.installed(in, pkg); why != "" {
		p.done(name, "%s", why)
		return
	}
	p.installPackage(in, pkg)
}

func (p *planner) tool(name string) bool { return slices.Contains(p.f.tools, name) }

// installed says why there is nothing to install; "" when there is.
func (p *planner) installed(in *Installer, pkg *release) string {
	t := p.f.tbot
	switch {
	case t.path == "":
		return ""
	case pkg.kind == kindBinary && pkg.local != "" && t.sha256 == pkg.sha256:
		return t.path + " is that file"
	case pkg.kind == kindBinary && pkg.local != "":
		return ""
	case in.version.Same(t.version):
		return t.path + " is version " + t.version.String()
	}
	return ""
}

func (p *planner) installReason() string {
	if t := p.f.tbot; t.path != "" {
		return fmt.Sprintf("%s is version %s, not %s", t.path, cmp.Or(t.version.String(), "unknown"),
			cmp.Or(p.d.install.version.String(), "the given one"))
	}
	return "it isn't there"
}

func (p *planner) installPackage(in *Installer, pkg *release) {
	dest := string(p.d.Tbot.Binary)
	step := Step{Name: "tbot", Reason: p.installReason(), installs: true}
	part := dest + ".fleetctl-part"
	if pkg.kind == kindDeb || pkg.kind == kindRPM {
		part = "/var/tmp/fleetctl-" + pkg.sha256[:16] + "." + pkg.kind
	}
	switch {
	case pkg.local != "":
		step.actions = append(step.actions, action{push: &push{local: pkg.local, remote: part, sha256: pkg.sha256, size: pkg.size}})
	case p.tool("curl") || p.tool("wget"):
		step.actions = append(step.actions, action{script: downloadScript(in, pkg, part)})
	default:
		step.actions = append(step.actions, action{push: &push{url: pkg.url, remote: part, sha256: pkg.sha256, via: in.downloads}})
	}
	install, undo := unpackScript(pkg.kind, part, dest)
	step.actions = append(step.actions, action{script: install})
	switch {
	case p.f.tbot.path != "":
		step.undo = []action{{script: undo}}
	case pkg.kind == kindBinary || pkg.kind == kindTarball:
		step.Makes = Thing{kind: thingFile, name: dest}
	}
	p.steps = append(p.steps, step)
	p.restart = append(p.restart, "tbot")
}

// downloadScript lets the host download: resumed where a part is there, and checked.
func downloadScript(in *Installer, pkg *release, part string) string {
	var b strings.Builder
	if in.proxy != "" {
		q := remote.Quote(in.proxy)
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
fi`, remote.Quote(pkg.url), remote.Quote(part), remote.Quote(pkg.sha256))
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
	if p.f.tbot.path != "" && in.version.Same(p.f.tbot.version) {
		p.done("tbot", "%s is version %s", p.f.tbot.path, in.version)
		return
	}
	if !p.tool("bash") || !p.tool("curl") && !p.tool("wget") {
		p.problem("tbot", outcome.InstallerNeeds, "the cluster's installer needs bash and curl or wget, and the host has not both",
			"install them, or use tbot.install.from: file or url")
		return
	}
	script := "parents " + defaultBinary + "\n"
	if in.proxy != "" {
		script += fmt.Sprintf("http_proxy=%[1]s; https_proxy=%[1]s; export http_proxy https_proxy\n", remote.Quote(in.proxy))
	}
	dest := cmp.Or(p.f.tbot.path, defaultBinary)
	keep := fmt.Sprintf("if [ -f %[1]s ]; then cp -p %[1]s %[1]s.previous; fi\n", remote.Quote(dest))
	script += keep + fmt.Sprintf("bash -s %s %s >&2", remote.Quote(in.version.String()), remote.Quote(in.edition))
	step := p.do("tbot", p.installReason(), action{script: script, stdin: in.script})
	step.installs = true
	if p.f.tbot.path != "" {
		_, undo := unpackScript(kindBinary, "", dest)
		step.undo = []action{{script: undo}}
	}
	p.restart = append(p.restart, "tbot")
}
