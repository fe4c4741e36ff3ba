package host

import (
	"cmp"
	"fleetctl/enroll/host/origin"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/sh"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
	"fmt"
)

// tbotFacts say which tbot there is.
type tbotFacts struct {
	path    string           // absolute; "" when there is none
	version versions.Version // the zero Version when it didn't say
	link    string           // what path resolves to, when it is a symbolic link
	fails   string           // what comes of running it, when it doesn't
	sha256  string           // of the file, where an installation may replace it
}

// tbotProgramFacts are of the program.
var tbotProgramFacts = factsOf{
	vars: func(d Desired) []shellVar {
		return []shellVar{{"BIN", string(d.Tbot.Binary)}, {"SUM", d.digestUnless()}, {"DEST", d.ways()[wayBinary]}}
	},
	script: tbotScript,
	set: map[string]func(*Facts, string) error{
		"tbot.path":    func(f *Facts, v string) error { return setPath(v, &f.tbot.path) },
		"tbot.link":    func(f *Facts, v string) error { return setPath(v, &f.tbot.link) },
		"tbot.sha256":  func(f *Facts, v string) error { f.tbot.sha256 = v; return nil },
		"tbot.fails":   func(f *Facts, v string) error { f.tbot.fails = v; return nil },
		"tbot.version": func(f *Facts, v string) error { f.tbot.version = versions.FromOutput(v); return nil },
	},
}

// runs SCRIPT runs a script over tbot, its $1: as root where root alone could have put it there, else as whoever owns what lies
// in the way, or nobody, who could have run it without us.
const tbotScript = sh.FindTbot + `runs() {
  w=$(changeable "$t")
  if [ -z "$w" ]; then sh -c "$1" sh "$t"; return; fi
  w=${w% *}
  ( U=${w##* }
    case $(id -u "$U" 2>/dev/null) in 0|'') U=nobody;; esac
    cd / && asuser "$1" "$t" )
}
t=$BIN
[ -n "$t" ] || t=$(find_tbot)
b=$(readlink -f "${t:-$DEST}" 2>/dev/null)
[ -n "$b" ] || b=$DEST
if [ -n "$t" ] && [ -f "$t" ] && [ -x "$t" ]; then
  kv tbot.path "$t"
  if [ -L "$t" ]; then kv tbot.link "$(readlink -f "$t")"; fi
  if has timeout; then v=$(runs 'timeout 20 "$1" version' 2>/dev/null); else v=$(runs '"$1" version' 2>/dev/null); fi
  x=$?
  case $x,$v in 0,*|124,*|*v[0-9]*) ;; *) kv tbot.fails "exit code $x: $(runs '"$1" version' 2>&1 </dev/null | tail -n 1)";; esac
  kv tbot.version "${v%%"$nl"*}"
  case $SUM,$v in ,*|*" v$SUM "*) ;; *) kv tbot.sha256 "$(sha256sum <"$t" | cut -d' ' -f1)";; esac
elif [ -n "$BIN" ] && [ -f "$BIN" ]; then
  kv tbot.path "$BIN"
  kv tbot.fails "its mode, or the file system that it lies on, lets nobody execute it"
fi
`

// digestUnless is the version of a tbot that an installation would leave as it is. Of any other one the digest is wanted:
// what is replaced comes back by its digest alone. A file's decides by itself. Reading all of tbot takes a while, so that
// it is done only where it is needed; "" for nowhere.
func (d Desired) digestUnless() string {
	switch {
	case d.install == nil:
		return ""
	case d.install.From == origin.File:
		return "file"
	}
	return cmp.Or(d.install.Version.String(), "none")
}

// TbotVersion is what the host's tbot says of itself; the zero Version for nothing.
func (f *Facts) TbotVersion() versions.Version { return f.tbot.version }

// tbot has to be there before anything points to it.
func (p *planner) tbot() {
	if p.d.install != nil {
		p.install()
		return
	}
	t := p.f.tbot
	if t.path == "" {
		where := "in PATH, /usr/local/bin or /opt/teleport"
		if p.d.Tbot.Binary != "" {
			where = "at " + string(p.d.Tbot.Binary)
		}
		p.problem("tbot", outcome.NoTbot, "tbot is not installed: there is none "+where,
			"install it, say where it is (tbot.binary), or let fleetctl install it (tbot.install.from)")
		return
	}
	if versions.TooOldForTPM(t.version) {
		p.problem("tbot", outcome.TbotTooOld, fmt.Sprintf("tbot %s doesn't know the tpm join method: it came with %s", t.version,
			versions.Needs(versions.TPMJoin)),
			"install a newer tbot: the cluster's major version is best")
		return
	}
	if p.notExecutable() || p.d.Tbot.User == "root" && p.othersMayChange("tbot", wayBinary, "tbot.binary") {
		return
	}
	reason := fmt.Sprintf("%s is there, version %s", t.path, cmp.Or(t.version.String(), "unknown"))
	if err := versions.Compatible(t.version, p.d.Version); err != nil {
		reason += "; " + err.Error()
	}
	p.done("tbot", "%s", reason)
}

// notExecutable is a tbot that its user can't execute, or nobody on this host.
func (p *planner) notExecutable() bool {
	t, w := p.f.tbot, p.f.ways[wayBinary]
	at := cmp.Or(t.link, t.path)
	switch {
	case t.fails != "":
		p.problem("tbot", outcome.ExecFailed, fmt.Sprintf("%s doesn't run on this host: %s", at, t.fails),
			"is it of this architecture ("+cmp.Or(p.f.arch, "unknown")+"), whole, and on a file system that may execute?")
	case w.shut != "":
		p.problem("tbot", outcome.ExecFailed, fmt.Sprintf("user %s can't execute %s: %s is closed to it", p.d.Tbot.User, at, w.shut), "")
	case w.usable == "denied":
		p.problem("tbot", outcome.ExecFailed, fmt.Sprintf("user %s may not execute %s", p.d.Tbot.User, at), "")
	default:
		return false
	}
	return true
}

// tbotAway takes a tbot that was not there before enroll brought it.
func (p *removal) tbotAway() {
	for _, t := range p.d.made {
		if t.kind == thingFile {
			p.do("tbot", "enroll brought it", action{script: removeFile(t.name, t.name+".previous", t.name+".fleetctl-part") +
				"\ntree " + remote.Quote(stageFor(origin.KindTarball, t.name))})
		}
	}
}
