package host

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"fleetctl/remote"
)

// Knowing adds what enrolls made on the host and found there, by the records: facts are gathered of all of it, wherever fleet.yaml
// puts things today.
func (d Desired) Knowing(made []Thing) Desired {
	d.made = made
	return d
}

// madeFacts are of the things of the records, by their place in the list, and of directories that are still to be made.
var madeFacts = factsOf{
	script: madeScript,
	calls: func(d Desired) []string {
		var calls []string
		for i, t := range d.things() {
			calls = append(calls, fmt.Sprintf("made %d %s %s %s\n", i, t.kind, remote.Quote(t.name), remote.Quote(d.besides(t))))
		}
		for i, p := range d.paths() {
			calls = append(calls, fmt.Sprintf("above %d %s\n", i, remote.Quote(p)))
		}
		return calls
	},
	each: map[string]func(*factsParser, int, string) error{
		"made": func(p *factsParser, i int, v string) error {
			if i >= len(p.things) {
				return errors.New("nothing that was asked for")
			}
			return setWord(v, p.facts.thing(p.things[i]), "there", "shared", "mounted", "other")
		},
		"above": func(p *factsParser, i int, v string) error {
			if i >= len(p.paths) {
				return errors.New("no path that was asked for")
			}
			var dir string
			err := setPath(v, &dir)
			p.facts.above[p.paths[i]] = dir
			return err
		},
	},
}

// made: is something of the records there? A group is shared where somebody is in it beside those that are named; a directory
// may be a mount point. above: the nearest directory above a path that is there, where the one that it lies in is not.
const madeScript = `everybody() { if has getent; then getent passwd; else cat /etc/passwd; fi 2>/dev/null; }
shared() {
  in=$(account group "$1" | cut -d: -f4 | tr ',' ' ')
  gid=$(account group "$1" | cut -d: -f3)
  for m in $in $(everybody | sed -n "s/^\([^:]*\):[^:]*:[^:]*:$gid:.*/\1/p"); do
    case " $2 " in *" $m "*) ;; *) return 0;; esac
  done
  return 1
}
made() {
  w=
  case $2 in
    user) if [ -n "$(account passwd "$3")" ]; then w=there; fi;;
    group) if [ -n "$(account group "$3")" ]; then w=there; if shared "$3" "$4"; then w=shared; fi; fi;;
    member) case " $(id -nG "$4" 2>/dev/null) " in *" $3 "*) w=there;; esac;;
    device) if [ -c "$3" ]; then w=there; fi;;
    file) if [ -f "$3" ]; then w=there; fi;;
    *)
      if [ -d "$3" ] && [ ! -L "$3" ]; then w=there; if mounted "$3"; then w=mounted; fi
      elif [ -e "$3" ] || [ -L "$3" ]; then w=other; fi;;
  esac
  if [ -n "$w" ]; then echo "made.$1=$w"; fi
}
above() {
  up "$2"; at=$up
  if [ -e "$at" ]; then return 0; fi
  while [ ! -e "$at" ]; do up "$at"; at=$up; done
  kv "above.$1" "$at"
}
`

// things are those of the records that are asked for, each once.
func (d Desired) things() []Thing {
	var all []Thing
	for _, t := range d.made {
		switch t.kind {
		case thingConfig, thingNew, thingUnit, thingOwner, thingBase, thingForeign: // they are managed files, or another thing's
			continue
		case thingMember:
			if t.owner == "" {
				t.owner = d.Tbot.User
			}
		}
		t = Thing{kind: t.kind, name: t.name, owner: t.memberOf()}
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}

// memberOf is the user of a membership.
func (t Thing) memberOf() string {
	if t.kind == thingMember {
		return t.owner
	}
	return ""
}

// besides are the accounts that a thing is asked about: the user of a membership, those that don't make a group shared.
func (d Desired) besides(t Thing) string {
	if t.kind == thingMember {
		return t.owner
	}
	ours := []string{}
	for _, m := range d.made {
		if m.kind == thingUser {
			ours = append(ours, m.name)
		}
		if m.kind == thingMember && m.name == t.name {
			ours = append(ours, m.memberOf(), d.Tbot.User)
		}
	}
	slices.Sort(ours)
	return strings.Join(slices.Compact(ours), " ")
}

// paths are what a plan may make, with the directories above it.
func (d Desired) paths() []string {
	all := append(d.managedFiles(), string(d.Tbot.Storage))
	all = append(all, outputDirs(d.Tbot.Services)...)
	if d.install != nil && d.Tbot.Binary != "" {
		all = append(all, string(d.Tbot.Binary))
	}
	return all
}

// thing is the word for how a thing is on the host; "" where it is not there.
func (f *Facts) thing(t Thing) *string {
	if f.made[t] == nil {
		f.made[t] = new(string)
	}
	return f.made[t]
}

// baseOf is the directory that is there above one that has to be made, so that a removal leaves it; none where the system's
// own directories end that anyway.
func (p *planner) baseOf(dir string) []Thing {
	base, missing := p.f.above[dir]
	if !missing {
		base = path.Dir(dir)
	}
	if slices.Contains(sharedDirs, base) {
		return nil
	}
	return []Thing{{kind: thingBase, name: base}}
}

// aboveOf are the directories that have to be made before something can be at a path, lowest first.
func (p *planner) aboveOf(file string) []Thing {
	base, missing := p.f.above[file]
	if !missing {
		return nil
	}
	var all []Thing
	for dir := path.Dir(file); dir != base && dir != "/"; dir = path.Dir(dir) {
		all = append(all, Thing{kind: thingAbove, name: dir})
	}
	return all
}
