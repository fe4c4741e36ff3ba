package host

import (
	"cmp"
	"fleetctl/enroll/host/origin"
	"fleetctl/enroll/outcome"
	"fleetctl/remote"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// defaultBinary is where release binaries go, as Teleport's own packages put them.
const defaultBinary = "/usr/local/bin/tbot"

// Installing is what a host should be like whose tbot comes from an installer; nil: tbot is there.
func (d Desired) Installing(in *origin.Installer) Desired {
	d.install = in
	if in != nil && in.ByArch != nil {
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
	if in.From == origin.Script {
		p.installScript(in)
		return
	}
	pkg := in.ByArch[p.f.arch]
	if pkg == nil {
		p.problem(name, outcome.NoPackage, fmt.Sprintf("tbot.install has nothing for this architecture (%s)", cmp.Or(p.f.arch, "unknown")),
			"it has "+strings.Join(slices.Sorted(maps.Keys(in.ByArch)), ", "))
		return
	}
	if pkg.Kind == origin.KindDeb && !p.tool("dpkg") || pkg.Kind == origin.KindRPM && !p.tool("rpm") {
		p.problem(name, outcome.WrongPackage, fmt.Sprintf("a .%s can't be installed here: the host has no %s", pkg.Kind,
			map[string]string{origin.KindDeb: "dpkg", origin.KindRPM: "rpm"}[pkg.Kind]), "give the host's group a tbot.install of its own")
		return
	}
	if why := p.installed(in, pkg); why != "" {
		p.done(name, "%s", why)
		return
	}
	if !p.othersMayChange(name, wayBinary, "tbot.binary") {
		p.installPackage(in, pkg)
	}
}

func (p *planner) tool(name string) bool { return slices.Contains(p.f.tools, name) }

// installed says why there is nothing to install; "" when there is.
func (p *planner) installed(in *origin.Installer, pkg *origin.Release) string {
	t := p.f.tbot
	switch {
	case t.path == "":
		return ""
	case pkg.Kind == origin.KindBinary && pkg.Local != "" && t.sha256 == pkg.SHA256:
		return t.path + " is that file"
	case pkg.Kind == origin.KindBinary && pkg.Local != "":
		return ""
	case in.Version.Same(t.version):
		return t.path + " is version " + t.version.String()
	}
	return ""
}

func (p *planner) installReason() string {
	if t := p.f.tbot; t.path != "" {
		return fmt.Sprintf("%s is version %s, not %s", t.path, cmp.Or(t.version.String(), "unknown"),
			cmp.Or(p.d.install.Version.String(), "the given one"))
	}
	return "it isn't there"
}

// stageFor is the directory, root's alone, where a package waits until it is whole: beside a program, so that it is put in place by
// one rename.
func stageFor(kind, dest string) string {
	if kind == origin.KindDeb || kind == origin.KindRPM {
		return "/var/lib/.fleetctl-install"
	}
	return path.Join(path.Dir(dest), ".fleetctl-install")
}

func (p *planner) installPackage(in *origin.Installer, pkg *origin.Release) {
	dest := string(p.d.Tbot.Binary)
	step := Step{Name: "tbot", Reason: p.installReason(), installs: true, configures: true}
	part := stageFor(pkg.Kind, dest) + "/" + pkg.SHA256[:16] + "." + pkg.Kind
	switch {
	case pkg.Local != "":
		step.actions = append(step.actions, action{push: &push{local: pkg.Local, remote: part, sha256: pkg.SHA256, size: pkg.Size}})
	case p.tool("curl") || p.tool("wget"):
		step.actions = append(step.actions, action{script: downloadScript(in, pkg, part)})
	default:
		step.actions = append(step.actions, action{push: &push{url: pkg.URL, remote: part, sha256: pkg.SHA256, via: in.Downloads}})
	}
	p.keep(&step, dest, `ln "$dest" "$dest.previous" 2>/dev/null || cp -p "$dest" "$dest.previous"`)
	if p.f.tbot.path == "" && (pkg.Kind == origin.KindBinary || pkg.Kind == origin.KindTarball) {
		step.Makes, step.also = Thing{kind: thingFile, name: dest}, p.aboveOf(dest)
		p.undo(&step, action{script: removeFile(dest)})
	}
	step.actions = append(step.actions, action{script: unpackScript(pkg, part, dest)})
	p.steps = append(p.steps, step)
	p.restart = append(p.restart, "tbot")
}

// downloadScript lets the host download: resumed where a part is there, and checked.
func downloadScript(in *origin.Installer, pkg *origin.Release, part string) string {
	var b strings.Builder
	if in.Proxy != "" {
		q := remote.Quote(in.Proxy)
		fmt.Fprintf(&b, "http_proxy=%[1]s; https_proxy=%[1]s; export http_proxy https_proxy\n", q)
	}
	fmt.Fprintf(&b, `url=%s part=%s sum=%s
umask 077
stage "${part%%/*}"
good() { sole "$part" && [ "$(sha256sum <"$part" | cut -d' ' -f1)" = "$sum" ]; }
fetch() {
  if has curl; then curl -fsSL --retry 3 --connect-timeout 20 -C - -o "$part" "$url"
  else wget -q -c -T 60 -O "$part" "$url"; fi
}
if ! good; then
  sole "$part" || rm -f "$part"
  fetch || { rm -f "$part"; fetch; }
  good || { rm -f "$part"; echo "what $url serves has another SHA-256 than tbot.install.sha256 says" >&2; exit 1; }
fi`, remote.Quote(pkg.URL), remote.Quote(part), remote.Quote(pkg.SHA256))
	return b.String()
}

// keep lets a step keep the tbot that it replaces, by a command, and bring it back. What is kept is what the facts have
// seen, by its digest: a copy that an earlier upgrade left is never taken for it, and nothing else comes back.
func (p *planner) keep(step *Step, dest, command string) {
	if p.f.tbot.path == "" || p.f.tbot.sha256 == "" {
		return
	}
	vars := fmt.Sprintf("dest=%s sum=%s\n", remote.Quote(dest), remote.Quote(p.f.tbot.sha256)) +
		`is() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$sum" ]; }` + "\n"
	step.actions = append(step.actions, action{script: vars + `parents "$dest"
rm -f "$dest.previous"
if [ -L "$dest" ]; then cp -p "$dest" "$dest.previous"; else ` + command + `; fi
is "$dest.previous" || { echo "$dest is not what it was when the plan was made" >&2; exit 1; }`})
	step.undo = []action{{script: vars + `if is "$dest"; then exit 0; fi
is "$dest.previous" || { echo "the copy of the $dest that was there is gone" >&2; exit 1; }
mv -f "$dest.previous" "$dest"`}}
}

// unpackScript makes the tbot at dest from the part, which it looks at once more: whatever happened between two commands, what
// root installs is what has this digest. From a tarball only tbot is taken. The rename is atomic: a running tbot keeps its
// own file.
func unpackScript(pkg *origin.Release, part, dest string) string {
	vars := fmt.Sprintf("part=%s dest=%s sum=%s\n", remote.Quote(part), remote.Quote(dest), remote.Quote(pkg.SHA256)) +
		`stage "${part%/*}"
sole "$part" && [ "$(sha256sum <"$part" | cut -d' ' -f1)" = "$sum" ] || {
  echo "$part is not the package that was brought there" >&2; exit 1
}
`
	after := "rm -f \"$part\"\nrmdir \"${part%/*}\" 2>/dev/null || :"
	finish := "parents \"$dest\"\nchown root:root \"$new\"\nchmod 0755 \"$new\"\nmv -f \"$new\" \"$dest\"\n" + after
	switch pkg.Kind {
	case origin.KindTarball:
		return vars + `member=$(tar -tzf "$part" | grep -m 1 -E '(^|/)tbot$') || { echo "the tarball holds no tbot" >&2; exit 1; }
new=$part.new
tar -xzOf "$part" "$member" >"$new"
` + finish
	case origin.KindDeb:
		return vars + "DEBIAN_FRONTEND=noninteractive dpkg -i \"$part\" >&2\n" + after
	case origin.KindRPM:
		return vars + "rpm -U --oldpackage --replacepkgs \"$part\" >&2\n" + after
	}
	return vars + "new=$part\n" + finish
}

// installScript runs the cluster's own installer.
func (p *planner) installScript(in *origin.Installer) {
	if p.f.tbot.path != "" && in.Version.Same(p.f.tbot.version) {
		p.done("tbot", "%s is version %s", p.f.tbot.path, in.Version)
		return
	}
	if !p.tool("bash") || !p.tool("curl") && !p.tool("wget") {
		p.problem("tbot", outcome.InstallerNeeds, "the cluster's installer needs bash and curl or wget, and the host has not both",
			"install them, or use tbot.install.from: file or url")
		return
	}
	if p.othersMayChange("tbot", wayBinary, "tbot.binary") {
		return
	}
	script := "parents " + defaultBinary + "\n"
	if in.Proxy != "" {
		script += fmt.Sprintf("http_proxy=%[1]s; https_proxy=%[1]s; export http_proxy https_proxy\n", remote.Quote(in.Proxy))
	}
	script += fmt.Sprintf("bash -s %s %s >&2", remote.Quote(in.Version.String()), remote.Quote(in.Edition))
	step := Step{Name: "tbot", Reason: p.installReason(), installs: true, configures: true}
	p.keep(&step, p.f.tbot.path, `cp -p "$dest" "$dest.previous"`) // what it does with the file is its own affair: no link
	step.actions = append(step.actions, action{script: script, stdin: in.Script})
	p.steps = append(p.steps, step)
	p.restart = append(p.restart, "tbot")
}
