package host

import (
	"errors"
	"fleetctl/enroll/outcome"
	"fleetctl/remote"
	"fmt"
	"slices"
	"strings"
)

// dirFacts are of a directory.
type dirFacts struct {
	typ   string // "", dir, link or other
	mode  uint32
	owner string
	group string
}

// storageFacts are of tbot's storage.
type storageFacts struct {
	dirFacts
	acl    string // does its file system have ACLs? "ok", "none", "" not known
	filled bool   // something is in it
}

// storagesFacts are of the storage and of the output directories. They come after those of the account.
var storagesFacts = factsOf{
	vars:   func(d Desired) []shellVar { return []shellVar{{"STORAGE", string(d.Tbot.Storage)}} },
	script: storageScript,
	calls: func(d Desired) []string {
		var calls []string
		for i, dir := range outputDirs(d.Tbot.Services) {
			calls = append(calls, fmt.Sprintf("dir %d %s\n", i, remote.Quote(dir)))
		}
		return calls
	},
	set: map[string]func(*Facts, string) error{
		"dir.storage":    func(f *Facts, v string) error { return f.storage.set(v) },
		"storage.acl":    func(f *Facts, v string) error { return setWord(v, &f.storage.acl, "ok", "none") },
		"storage.filled": func(f *Facts, v string) error { return setTruth(v, &f.storage.filled) },
	},
	each: map[string]func(*factsParser, int, string) error{
		"dir": func(p *factsParser, i int, v string) error {
			var d dirFacts
			if i >= p.dirs {
				return errors.New("no directory that was asked for")
			}
			err := d.set(v)
			p.facts.dirs[i] = d
			return err
		},
	},
}

const storageScript = `dir() {
  if [ -L "$2" ]; then w=link; elif [ -d "$2" ]; then w=dir; elif [ -e "$2" ]; then w=other; else return 0; fi
  s=$(stat -c '%a %U %G %s' "$2") || return 0
  case $s in *UNKNOWN*) s=$(stat -c '%a %u %g %s' "$2");; esac
  echo "dir.$1=$w $s"
}
dir storage "$STORAGE"
if [ -n "$(ls -A "$STORAGE" 2>/dev/null | grep -vx lost+found | head -n 1)" ]; then echo storage.filled=1; fi
p=$STORAGE
while [ ! -e "$p" ] && [ "$p" != / ]; do up "$p"; p=$up; done
case $(findmnt -n -o FSTYPE,OPTIONS -T "$p" 2>/dev/null) in
  *noacl*|vfat*|exfat*|msdos*) echo storage.acl=none;;
  ?*) echo storage.acl=ok;;
esac
`

// set reads "TYPE MODE OWNER GROUP SIZE".
func (d *dirFacts) set(v string) error {
	kind, rest, _ := strings.Cut(v, " ")
	if err := setWord(kind, &d.typ, "dir", "link", "other"); err != nil {
		return err
	}
	return setStat(rest, &d.mode, &d.owner, &d.group, new(int64))
}

// storage is tbot's state: a directory that only its user can read. It is never emptied here.
func (p *planner) storage() {
	s, t, dir := p.f.storage, p.d.Tbot, string(p.d.Tbot.Storage)
	name := "storage " + dir
	q := remote.Quote(dir)
	usable := fmt.Sprintf(`
U=%[1]s
asuser '[ -w "$1" ] && [ -x "$1" ]' %[2]s || { echo "user $U can't use "%[2]s", though it is 0700 and its own" >&2; exit 1; }`,
		remote.Quote(t.User), q)
	switch {
	case s.filled && !p.knownStorage() && !p.d.Adopt:
		p.problem(name, outcome.NotOurs, "fleetctl did not put what is in "+dir,
			"look at it; adopting lets tbot use it and keeps it at a removal; or set tbot.storage")
	case s.typ == "link":
		p.problem(name, outcome.StorageLink, dir+" is a symbolic link",
			"whoever can change the link's target would get tbot's credentials: make it a directory, or set tbot.storage")
	case s.typ == "other":
		p.problem(name, outcome.StorageNotDir, dir+" is there, but no directory", "move it away, or set tbot.storage")
	case p.linkInTheWay(name, wayStorage, "tbot.storage"):
	case p.blocked(name, wayStorage, outcome.StorageDenied, ""):
	case s.typ == "":
		step := p.do(name, "it doesn't exist", action{script: makeDirScript(dir, t.User, t.Group, 0o700) + usable})
		step.Makes, step.also = Thing{kind: thingDir, name: dir}, p.baseOf(dir)
		p.undo(step, madeDirUndo(dir, p.baseOf(dir))...)
	case s.owner != t.User || s.group != t.Group || s.mode != 0o700:
		step := p.do(name, fmt.Sprintf("it is %#o %s:%s, not 0700 %s:%s", s.mode, s.owner, s.group, t.User, t.Group),
			action{script: "[ ! -L " + q + " ] || exit 1\n" + ownScript(dir, t.User, t.Group, 0o700) + usable})
		was := Thing{kind: thingOwner, name: dir, mode: s.mode, owner: s.owner, group: s.group}
		if _, known := find(p.d.made, thingOwner, dir); !known {
			step.also = []Thing{was}
		}
		p.undo(step, action{script: was.back()})
	case p.f.ways[wayStorage].usable == "denied":
		p.problem(name, outcome.StorageDenied, fmt.Sprintf("user %s can't write to %s, though it is 0700 and its own", t.User, dir),
			"is it mounted read-only, or is there an attribute or an access control list? lsattr -d and getfacl say it")
	case s.acl == "none":
		p.done(name, "0700, owned by %s; its file system has no ACLs, so tbot guards it by modes alone", t.User)
	default:
		p.done(name, "0700, owned by %s", t.User)
	}
}

// outputs are the directories that services write to; tbot can't make them itself inside its sandbox.
func (p *planner) outputs() {
	links := linkedOutputs(p.d.Tbot.Services)
	for i, dir := range outputDirs(p.d.Tbot.Services) {
		name := "output directory " + dir
		way := wayOutputs + i
		got, there := p.f.dirs[i]
		switch follows := slices.Contains(links, dir); {
		case there && got.typ == "other":
			p.problem(name, outcome.StorageNotDir, dir+" is there, but no directory", "move it away, or choose another path")
		case there && got.typ == "link" && !follows:
			p.problem(name, outcome.StorageLink, dir+" is a symbolic link, and tbot follows none to an output",
				"choose the path where it leads to")
		case !follows && p.linkInTheWay(name, way, "path"):
		case p.blocked(name, way, outcome.PermissionDenied, "open that directory to it, or choose another path"):
		case there && p.f.ways[way].usable == "denied" && !p.handed(way):
			p.problem(name, outcome.PermissionDenied, fmt.Sprintf("user %s can't write to %s (%#o %s:%s)", p.d.Tbot.User, dir,
				got.mode, got.owner, got.group), "give it to that user, or choose a directory that enroll can make")
		case there:
			p.done(name, "it exists, %#o %s:%s", got.mode, got.owner, got.group)
		default:
			step := p.do(name, "it doesn't exist", action{script: makeDirScript(dir, p.d.Tbot.User, p.d.Tbot.Group, 0o750)})
			step.Makes, step.also = Thing{kind: thingDir, name: dir}, p.baseOf(dir)
			p.undo(step, madeDirUndo(dir, p.baseOf(dir))...)
		}
	}
}

// outputDirs finds the directories that services write to: the path of every destination of type directory, sorted.
func outputDirs(services []map[string]any) []string {
	return destinations(services, func(map[string]any) bool { return true })
}

// linkedOutputs are those of them that symbolic links may lead to.
func linkedOutputs(services []map[string]any) []string {
	return destinations(services, func(d map[string]any) bool { return d["symlinks"] == "insecure" })
}

// destinations are the paths of the directories that want says yes to, sorted.
func destinations(services []map[string]any, want func(map[string]any) bool) []string {
	var dirs []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if path, ok := v["path"].(string); ok && v["type"] == "directory" && cleanPath(path) && want(v) {
				dirs = append(dirs, path)
			}
			if path, ok := v["destination"].(string); ok && cleanPath(path) && want(nil) { // short for a directory
				dirs = append(dirs, path)
			}
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	for _, s := range services {
		walk(s)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// knownStorage says whether what is in the storage is there by fleetctl: the records know it, or a tbot is enrolled here.
func (p *planner) knownStorage() bool {
	dir := string(p.d.Tbot.Storage)
	_, dirMade := find(p.d.made, thingDir, dir)
	_, stored := find(p.d.made, thingStorage, dir)
	return dirMade || stored || p.f.Enrolled()
}

// madeDirUndo takes a directory away that a step has made. Of a step that did not come to its end nothing is known but that:
// somebody else may have been faster.
func madeDirUndo(dir string, base []Thing) []action {
	return []action{
		{script: removeTree(dir, base), whole: true},
		{script: fmt.Sprintf("if [ -d %[1]s ]; then gone %[1]s || :; fi", remote.Quote(dir))},
	}
}
