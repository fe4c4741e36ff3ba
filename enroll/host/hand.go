package host

import (
	"fmt"

	"fleetctl/remote"
)

// handOver gives what an earlier tbot.user left in tbot's storage and outputs to the present one: files that belong to it,
// and nothing else. It goes before the steps that may take the directories themselves.
func (p *planner) handOver() {
	last := p.f.last
	for i, dir := range p.d.ways() {
		if !p.handed(i) {
			continue
		}
		step := p.do("files in "+dir, fmt.Sprintf("they belong to %s, and tbot runs as %s", last, p.d.Tbot.User),
			action{script: handScript(dir, last, p.d.Tbot.User, p.d.Tbot.Group)})
		p.undo(step, action{script: handScript(dir, p.d.Tbot.User, last, "")})
		p.restart = append(p.restart, "user "+p.d.Tbot.User)
	}
}

// handed says whether what lies at the end of a way changes hands. What root has in a directory that was not made by enroll
// is not tbot's for that.
func (p *planner) handed(way int) bool {
	_, made := find(p.d.made, thingDir, p.d.ways()[way])
	return p.f.ways[way].left && (way == wayStorage || made || p.f.last != "root")
}

func handScript(dir, from, to, group string) string {
	return fmt.Sprintf("handover %s %s %s %s", remote.Quote(dir), remote.Quote(from), remote.Quote(to), remote.Quote(group))
}

// handFunction is handover DIR FROM TO GROUP, of the scripts that change something: it changes the owner of a directory, and of
// everything below it, that belongs to the user FROM: to the user TO and the group, or to TO's own one. Directories of TO are
// looked into, too. Whoever owned a directory could put something else there at any moment. So each one is first taken by
// root, which its sticky bit tells a later run, and only then looked at: from then on nobody else can change what is in it.
// Links are never followed, other file systems not entered, and a file with a second name somewhere stays as it is.
const handFunction = `handover() {
  from=$(id -u "$2") && to=$(id -u "$3") || return 1
  own=$to:${4:-$(id -g "$3")}
  ( cd -P "$1" && [ "$(pwd -P)" = "$1" ] && hand )
}
hand() {
  set -- $(stat -c '%u %d 0%a' .)
  case $1,$3 in "$from",*|"$to",*|0,01[0-7][0-7][0145]) ;; *) return 0;; esac
  mode=000${3#0}; mode=0${mode#"${mode%???}"}
  chown 0:0 . && chmod 1"$(printf %03o $((mode & 0755)))" . || return 1
  for f in ./* ./.[!.]* ./..?*; do
    if [ -d "$f" ] && [ ! -L "$f" ]; then
      if [ "$(stat -c %d "$f")" = "$2" ]; then ( cd -P "$f" && hand ) || return 1; fi
    else
      case $(stat -c '%u %h' "$f" 2>/dev/null) in "$from 1") chown -h "$own" "$f" || return 1;; esac
    fi
  done
  chown "$own" . && chmod "$mode" .
}
`
