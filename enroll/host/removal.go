package host

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"fleetctl/enroll/config"
	"fleetctl/remote"
)

// removal plans to take away what enrolls made, by the records, wherever fleet.yaml puts things today.
type removal struct{ planner }

// PlanRemoval plans to take away what enroll put on a host: the service, files that carry our mark, tbot's state, and
// of accounts and directories only what enroll made (by what d knows from the records, or an account's comment). It is
// pure. What was somebody else's and was adopted comes back: files, owners, and the service as it was. It may be tried
// again wherever it ended. Of a host of which the records know nothing, what fleet.yaml says goes, as far as it is marked.
func PlanRemoval(f *Facts, d Desired) Steps {
	p := &removal{planner{f: f, d: d}}
	if !p.root() {
		return p.steps
	}
	ours := f.Enrolled()
	p.serviceAway(p.oursRuns())
	p.unitAway()
	for _, config := range p.paths(thingConfig, string(d.Tbot.Config)) {
		p.fileAway("configuration", config)
	}
	for _, storage := range p.paths(thingStorage, string(d.Tbot.Storage)) {
		p.storageAway(storage, ours)
	}
	p.dirsAway()
	p.outputsAway()
	p.deviceAway()
	p.accountsAway()
	p.tbotAway()
	p.aboveAway()
	p.serviceBack()
	return p.steps
}

// oursRuns says whether the service is ours: by its files, or where somebody has taken the unit away, and it runs on.
func (p *removal) oursRuns() bool {
	_, there := p.f.files[unitPath]
	deleted := !there && len(p.d.made) > 0 && p.f.service.fragment == unitPath
	return p.f.files[unitPath].ours() || p.f.files[updaterPath].ours() || deleted
}

func (p *removal) wasMade(kind thingKind, name string) bool {
	_, ok := find(p.d.made, kind, name)
	return ok
}

// modern says whether the records have all that was made: those of an older fleetctl lack the files, and how things were.
func (p *removal) modern() bool { return len(ofKind(p.d.made, thingNew)) > 0 }

// there says whether a thing of the records is on the host, and how.
func (p *removal) there(t Thing) string {
	if word := p.f.made[Thing{kind: t.kind, name: t.name, owner: t.memberOf()}]; word != nil {
		return *word
	}
	return ""
}

// paths are those of a kind in the records; what fleet.yaml says where the records know none.
func (p *removal) paths(kind thingKind, today string) []string {
	var all []string
	for _, t := range ofKind(p.d.made, kind) {
		all = append(all, t.name)
	}
	if len(all) == 0 {
		all = []string{today}
	}
	return all
}

// storageAway takes a storage of tbot: credentials are in there. One that was there before is emptied and gets its owner back;
// what somebody else had in it stays.
func (p *removal) storageAway(dir string, ours bool) {
	name := "storage " + dir
	if p.wasMade(thingDir, dir) {
		return // with the other directories
	}
	word := p.there(Thing{kind: thingStorage, name: dir})
	if dir == string(p.d.Tbot.Storage) {
		word = cmp.Or(word, p.f.storage.typ)
	}
	q := remote.Quote(dir)
	switch was, owned := find(p.d.made, thingOwner, dir); {
	case word == "":
		p.done(name, "it is not there")
	case word == "other" || word == "link":
		p.done(name, "it is no directory: it stays")
	case p.wasMade(thingForeign, dir) && owned:
		script := was.back()
		if config.ValidAccount(was.owner) {
			script = handScript(dir, p.d.Tbot.User, was.owner, was.group) + "\n" + script
		}
		p.do(name, "its content is somebody else's, and it gets its owner back", action{script: script})
	case p.wasMade(thingForeign, dir):
		p.done(name, "its content is somebody else's: it stays")
	case len(p.d.made) > 0 && owned:
		p.do(name, "it was there before: it is emptied, and gets its owner back", action{script: "empty " + q + "\n" + was.back()})
	case len(p.d.made) > 0 && (p.f.storage.filled || dir != string(p.d.Tbot.Storage)):
		p.do(name, "it was there before: it is emptied", action{script: "empty " + q})
	case len(p.d.made) > 0:
		p.done(name, "it was there before, and it is empty")
	case !ours:
		p.done(name, "nothing says that enroll made it: it stays")
	default:
		p.do(name, "tbot's state goes with it", action{script: removeTree(dir, nil)})
	}
}

// dirsAway takes the directories that were made for tbot: its storage and where its services write to.
func (p *removal) dirsAway() {
	bases := ofKind(p.d.made, thingBase)
	for _, t := range ofKind(p.d.made, thingDir) {
		name := "directory " + t.name
		if p.wasMade(thingStorage, t.name) || t.name == string(p.d.Tbot.Storage) {
			name = "storage " + t.name
		}
		switch p.there(t) {
		case "":
			p.done(name, "it is not there")
		case "other":
			p.done(name, "it is no directory: it stays")
		case "mounted":
			p.do(name, "something is mounted there: it is emptied", action{script: removeTree(t.name, bases)})
		default:
			p.do(name, "enroll made it", action{script: removeTree(t.name, bases)})
		}
	}
}

// outputsAway takes what tbot has written to directories that were there before: whatever belongs to an account that enroll made.
// Of another account's nobody can tell what is tbot's.
func (p *removal) outputsAway() {
	for _, t := range ofKind(p.d.made, thingOutput) {
		name := "output directory " + t.name
		if p.wasMade(thingDir, t.name) || p.there(t) == "" || p.there(t) == "other" {
			continue
		}
		script := ""
		for _, u := range ofKind(p.d.made, thingUser) {
			if p.there(u) != "" {
				script += fmt.Sprintf("emptyof %s %s\n", remote.Quote(t.name), remote.Quote(u.name))
			}
		}
		if script == "" {
			p.done(name, "it was there before: it stays, and so does what is in it")
			continue
		}
		p.do(name, "it was there before: what tbot wrote there goes", action{script: script})
	}
}

// sharedDirs belong to the system: they stay, however empty they are.
var sharedDirs = []string{"/", "/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/usr/local",
	"/usr/local/bin", "/usr/local/lib", "/var", "/var/lib", "/var/opt", "/var/tmp", "/var/cache"}

// removeTree removes a directory, and those above it that are empty then and neither belong to the system nor were there
// before.
func removeTree(dir string, bases []Thing) string {
	script := "tree " + remote.Quote(dir)
	stays := func(up string) bool {
		return slices.Contains(sharedDirs, up) || slices.Contains(bases, Thing{kind: thingBase, name: up})
	}
	for up := path.Dir(dir); !stays(up); up = path.Dir(up) {
		script += fmt.Sprintf("\nif [ ! -e %[1]s ]; then :; else gone %[1]s || exit 0; fi", remote.Quote(up))
	}
	return script
}

// aboveAway takes the directories that were made on the way to files, as far as they are empty.
func (p *removal) aboveAway() {
	all := ofKind(p.d.made, thingAbove)
	slices.SortFunc(all, func(a, b Thing) int { return strings.Compare(b.name, a.name) })
	script := ""
	for _, t := range all {
		if p.there(t) != "" {
			script += fmt.Sprintf("gone %s || :\n", remote.Quote(t.name))
		}
	}
	if script != "" {
		p.do("directories above", "enroll made them", action{script: script})
	}
}

// serviceBack brings back the service of somebody else that was there before, as it was.
func (p *removal) serviceBack() {
	units := ofKind(p.d.made, thingUnit)
	if len(units) == 0 || p.f.Systemd == 0 {
		return
	}
	u := units[0]
	name := "service of " + u.name
	wasEnabled, s := u.enabled == "enabled", p.f.service
	still := s.fragment == u.name && !p.f.files[u.name].ours() && !p.f.files[updaterPath].ours()
	if still && (s.enabled == "enabled" || !wasEnabled) && (s.active == "active" || !u.active) {
		p.done(name, "it is as it was before")
		return
	}
	script := "systemctl daemon-reload\n"
	if wasEnabled {
		script += "systemctl enable --quiet " + UnitName + "\n"
	}
	if u.active {
		script += restartScript + "\n"
	}
	p.do(name, "it was there before enroll came", action{script: script})
}
