package host

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/remote"
	"fleetctl/templates"
)

// wayFacts are of the way to a path: whether tbot may go it, and whether anything can be written at its end.
type wayFacts struct {
	link   string // the first symbolic link above the path; "" for none
	leads  string // where the path really is, when link is set
	shut   string // the first directory above it that tbot's user can't search, and how it is
	nodir  string // something above it that is no directory
	usable string // the path itself, as tbot's user: "ok", "denied"; "" it isn't there
	others string // the first thing on it that others than root can change, and how it is
	left   bool   // an earlier tbot.user of ours left files there
	room   room
}

// room is of the file system that a path lies on, at the nearest directory that is there.
type room struct {
	dir      string // "" not known
	readOnly bool
	kib      int // free for users; -1 not known
	inodes   int // -1 not known
}

// Places in the list of ways.
const (
	wayBinary = iota
	wayConfig
	wayUnit
	wayRules
	wayAccounts
	wayRun
	wayStorage
	wayOutputs // and those that follow
)

// accountsPath stands for all files of accounts.
const accountsPath = "/etc/passwd"

// ways are the paths that a plan may use or write to. That of the program is where the host says that it is.
func (d Desired) ways() []string {
	binary := string(d.Tbot.Binary)
	if binary == "" {
		binary = defaultBinary
	}
	return append([]string{binary, string(d.Tbot.Config), unitPath, rulesPath, accountsPath, pendingPath, string(d.Tbot.Storage)},
		outputDirs(d.Tbot.Services)...)
}

// waysFacts are of all ways. They come after those of the program and the account.
var waysFacts = factsOf{
	script: waysScript,
	calls: func(d Desired) []string {
		var calls []string
		for i, p := range d.ways() {
			word, want := remote.Quote(p), "rw"
			switch i {
			case wayBinary:
				word, want = `"$b"`, "x"
			case wayConfig:
				want = "to"
			case wayUnit, wayRules, wayAccounts, wayRun:
				want = "room"
			}
			calls = append(calls, fmt.Sprintf("way %d %s %s\n", i, word, want))
		}
		return calls
	},
	set: map[string]func(*Facts, string) error{
		"ulimit": func(f *Facts, v string) error { return setNumber(v, &f.ulimit) },
		"last": func(f *Facts, v string) error {
			f.last = v
			if !config.ValidAccount(v) {
				return errors.New("no name of an account")
			}
			return nil
		},
	},
	each: map[string]func(*factsParser, int, string) error{
		"link": setWay(func(w *wayFacts, v string) error {
			at, to, _ := strings.Cut(v, " ")
			if err := setPath(at, &w.link); err != nil || to == "" {
				return err
			}
			return setPath(to, &w.leads)
		}),
		"shut":   setWay(func(w *wayFacts, v string) error { return setShut(v, &w.shut) }),
		"others": setWay(func(w *wayFacts, v string) error { return setShut(v, &w.others) }),
		"nodir":  setWay(func(w *wayFacts, v string) error { return setPath(v, &w.nodir) }),
		"usable": setWay(func(w *wayFacts, v string) error { return setWord(v, &w.usable, "ok", "denied") }),
		"left":   setWay(func(w *wayFacts, v string) error { return setTruth(v, &w.left) }),
		"room":   setWay(func(w *wayFacts, v string) error { return w.room.set(v) }),
	},
}

func setWay(set func(*wayFacts, string) error) func(*factsParser, int, string) error {
	return func(p *factsParser, i int, v string) error {
		if i >= p.ways {
			return errors.New("no path that was asked for")
		}
		w := p.facts.ways[i]
		err := set(&w, v)
		p.facts.ways[i] = w
		return err
	}
}

// setShut reads "DIR MODE OWNER GROUP" of a directory, which may be / itself.
func setShut(v string, to *string) error {
	at, stat, _ := strings.Cut(v, " ")
	if at != "/" && !cleanPath(at) {
		return errors.New("not a clean absolute path")
	}
	var mode uint32
	var owner, group string
	err := setStat(stat, &mode, &owner, &group, nil)
	*to = fmt.Sprintf("%s (%#o %s:%s)", at, mode, owner, group)
	return err
}

// set reads "DIR rw|ro KIB INODES", with - for a number that isn't known.
func (r *room) set(v string) (err error) {
	fields := strings.Split(v, " ")
	if len(fields) != 4 || fields[0] != "/" && !cleanPath(fields[0]) {
		return errors.New("not four words that begin with a path")
	}
	r.dir, r.readOnly = fields[0], fields[1] == "ro"
	if r.kib, err = amount(fields[2]); err == nil {
		r.inodes, err = amount(fields[3])
	}
	return err
}

func amount(v string) (int, error) {
	if v == "-" {
		return -1, nil
	}
	return strconv.Atoi(v)
}

// waysScript goes each way as tbot's user. One that isn't there yet is taken for somebody with the rights of all others and
// of its group. What lies below a directory that is not there will be made, and stands in nobody's way. last: an earlier
// tbot.user, by our unit.
const waysScript = `last= as= seen= granted=
m=$(ulimit -f)
case $m in *[!0-9]*|'') ;; *) [ "$m" -ge 128 ] || kv ulimit "$m";; esac
case $(head -n 1 "$UNIT" 2>/dev/null) in "` + templates.Marker + `"*) last=$(sed -n 's/^User=//p' "$UNIT" | tail -n 1);; esac
if [ "$last" = "$U" ]; then last=; fi
if [ -n "$last" ]; then kv last "$last"; fi
left() {
  [ -n "$last" ] && [ -d "$1" ] && [ ! -L "$1" ] || return 1
  [ -n "$(find "$1" -xdev \( -user "$last" -o -type d -user 0 -perm -1000 ! -perm -2 \) 2>/dev/null | head -n 1)" ]
}
if [ -n "$e" ] && asuser : </dev/null >/dev/null 2>&1; then as=yes; fi
grants() {
  case $granted in *" $1 $2 "*) return 0;; esac
  m=$(stat -L -c '%a %G' "$1" 2>/dev/null) || return 1
  o=000${m%% *}; o=${o#"${o%???}"}
  g=${o%?}; g=${g#?} o=${o#??}
  if [ "${m#* }" = "$G" ]; then o=$((o | g)); fi
  case $2 in x) [ $((o & 1)) = 1 ];; *) [ $((o & 3)) = 3 ];; esac && granted="$granted $1 $2 "
}
able() {
  case $as,$2 in
    yes,x) asuser '[ -x "$1" ]' "$1" </dev/null 2>/dev/null;;
    yes,*) asuser '[ -w "$1" ] && [ -x "$1" ]' "$1" </dev/null 2>/dev/null;;
    *) grants "$1" "$2";;
  esac
}
room() {
  case $seen in *" $1 "*) r=${seen#*" $1 "}; r=${r%% *}; return;; esac
  w=rw f= l=0
  f=$(lsattr -d "$1" 2>/dev/null)
  case ${f%% *} in *i*) w=ro;; esac
  f=
  k=$({ df -P -k "$1"; echo :; df -P -i "$1"; } 2>/dev/null | sed -n -e 's/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/\1/p' -e '/^:$/p')
  i=${k##*:} k=${k%%:*}
  i=${i#"$nl"} k=${k%"$nl"}
  d=$(cd -P "$1" 2>/dev/null && pwd -P)/
  while read -r _ a _ o _; do
    case $d in "${a%/}"/*) if [ "${#a}" -ge "$l" ]; then l=${#a} f=$o; fi;; esac
  done 2>/dev/null </proc/mounts
  case $f in ro|ro,*) w=ro;; esac
  r=$w:${k:--}:${i:--}
  seen="$seen $1 $r "
}
way() {
  at= dirs=/ link= shut= rest=${2#/}
  while :; do
    case $rest in */*) ;; *) break;; esac
    at=$at/${rest%%/*} rest=${rest#*/}
    if [ -z "$link" ] && [ -L "$at" ]; then link=$at; fi
    if [ -e "$at" ] && [ ! -d "$at" ]; then kv nodir."$1" "$at"; fi
    [ -d "$at" ] || break
    dirs="$dirs $at"
  done
  if [ -n "$link" ]; then kv link."$1" "$link $(readlink -f "$2" 2>/dev/null)"; fi
  if [ "$3" = room ]; then :
  elif [ -n "$as" ]; then
    shut=$(asuser 'for d; do [ -x "$d" ] || { echo "$d"; exit; }; done' $dirs </dev/null 2>/dev/null)
  else
    for d in $dirs; do grants "$d" x || { shut=$d; break; }; done
  fi
  if [ -n "$shut" ]; then kv shut."$1" "$shut $(stat -L -c '%a %U %G' "$shut")"; fi
  case $3 in x|rw)
    if [ -z "$shut" ] && [ -e "$2" ]; then
      if able "$2" "$3"; then kv usable."$1" ok; else kv usable."$1" denied; fi
    fi;;
  esac
  case $3 in x) o=$(changeable "${t:-$DEST}");; to) up "$2"; o=$(changeable "$up");; *) o=;; esac
  if [ -n "$o" ]; then kv others."$1" "$o"; fi
  if [ "$3" = rw ] && left "$2"; then kv left."$1" 1; fi
  d=${dirs##* }
  if [ -d "$2" ]; then d=$2; fi
  at=$d
  room "$at"
  k=${r#*:}
  kv room."$1" "$at ${r%%:*} ${k%:*} ${k#*:}"
}
`

// How much has to be free where something is written: a handful of small files.
const (
	minKiB    = 256
	minInodes = 16
)

// rooms refuses a plan that writes where nothing can be written: each directory once.
func (p *planner) rooms() {
	seen := map[string]bool{}
	if p.f.ulimit >= 0 && p.steps.Changes() {
		p.problem("limit of files", outcome.NoSpace,
			fmt.Sprintf("no file may be larger than %d blocks (ulimit -f), for root either", p.f.ulimit),
			"look at the start files of the login user, and at limits.conf")
	}
	for _, i := range p.writes() {
		r := p.f.ways[i].room
		if r.dir == "" || seen[r.dir] {
			continue
		}
		seen[r.dir] = true
		name, at := "room in "+r.dir, p.d.ways()[i]
		switch {
		case r.readOnly:
			p.problem(name, outcome.ReadOnly, fmt.Sprintf("%s is read-only, and %s has to be written", r.dir, at), "")
		case r.kib >= 0 && r.kib < minKiB:
			p.problem(name, outcome.NoSpace, fmt.Sprintf("%s is full: %d KiB are free, and %s has to be written", r.dir, r.kib, at), "")
		case r.inodes >= 0 && r.inodes < minInodes:
			p.problem(name, outcome.NoSpace, fmt.Sprintf("%s is full: %d inodes are free, and %s has to be written",
				r.dir, r.inodes, at), "")
		}
	}
}

// writes are the ways to what a plan changes.
func (p *planner) writes() []int {
	var out []int
	for _, s := range p.steps {
		if !s.Changes() {
			continue
		}
		out = append(out, wayRun) // the mark that a restart is due
		switch s.Makes.kind {
		case thingUser, thingGroup, thingMember:
			out = append(out, wayAccounts)
		case thingDir, thingFile:
			out = p.wayTo(out, s.Makes.name)
		}
		if s.Name == "enable" {
			out = append(out, wayUnit)
		}
		for _, a := range s.actions {
			if a.file != nil {
				out = p.wayTo(out, a.file.Path)
			}
		}
	}
	return out
}

// wayTo adds the way to a path, which for a drop-in is that to the unit.
func (p *planner) wayTo(out []int, to string) []int {
	if path.Dir(to) == dropInDir {
		to = unitPath
	}
	if i := slices.Index(p.d.ways(), to); i >= 0 {
		out = append(out, i)
	}
	return out
}

// linkInTheWay is a symbolic link above a path of tbot's, or the path itself: tbot refuses to read and write through one, since
// whoever can change it would choose where credentials go.
func (p *planner) linkInTheWay(name string, way int, setting string) bool {
	w := p.f.ways[way]
	if w.link == "" {
		return false
	}
	hint := "make it a directory, or choose another path"
	if w.leads != "" {
		hint = fmt.Sprintf("write where it leads to: %s: %s", setting, w.leads)
	}
	p.problem(name, outcome.StorageLink, fmt.Sprintf("%s is a symbolic link, and tbot follows none on the way to %s", w.link,
		p.d.ways()[way]), hint)
	return true
}

// othersMayChange is a way on which others than root can change something, to what root would write, or tbot as root would run: what they
// put there would be root's.
func (p *planner) othersMayChange(name string, way int, setting string) bool {
	w := p.f.ways[way]
	if w.others == "" {
		return false
	}
	p.problem(name, outcome.UnsafePath, fmt.Sprintf("others than root can change %s, on the way to %s", w.others, p.d.ways()[way]),
		fmt.Sprintf("give that to root alone (chown root, chmod go-w), or set %s to a path that root alone can change", setting))
	return true
}

// blocked is a way that ends before its path.
func (p *planner) blocked(name string, way int, code outcome.Code, hint string) bool {
	w, at := p.f.ways[way], p.d.ways()[way]
	switch {
	case w.nodir != "":
		p.problem(name, outcome.StorageNotDir, fmt.Sprintf("%s can't be there: %s is no directory", at, w.nodir), "move it away")
	case w.shut != "":
		p.problem(name, code, fmt.Sprintf("user %s can't reach %s: %s is closed to it", p.d.Tbot.User, at, w.shut), hint)
	default:
		return false
	}
	return true
}
