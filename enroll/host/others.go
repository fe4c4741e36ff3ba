package host

import (
	"fmt"
	"strconv"
	"strings"

	"fleetctl/enroll/outcome"
)

// otherTbot is a process of tbot that tbot.service did not start and that uses the storage or the configuration that are
// meant for it.
type otherTbot struct {
	pid     int
	unit    string // whatever systemd has it in: a service, or the session of a person
	command string
}

// otherFacts are of such processes. Without systemd, who starts tbot is not ours to judge.
var otherFacts = factsOf{
	vars:   func(d Desired) []shellVar { return []shellVar{{"CONFIG", string(d.Tbot.Config)}} },
	script: otherScript,
	each: map[string]func(*factsParser, int, string) error{
		"other": func(p *factsParser, _ int, v string) error {
			pid, rest, _ := strings.Cut(v, " ")
			unit, command, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(pid)
			p.facts.others = append(p.facts.others, otherTbot{n, unit, command})
			return err
		},
	},
}

// A tbot holds a lock in its storage as long as it runs. Those in containers have another directory by that name.
const otherScript = `n=0
for c in /proc/[0-9]*; do
  [ -d /run/systemd/system ] || break
  w=; { read -r w <"$c/comm"; } 2>/dev/null
  [ "$w" = tbot ] || continue
  if grep -q '/tbot\.service$' "$c/cgroup" 2>/dev/null; then continue; fi
  w=$(tr '\0' ' ' 2>/dev/null <"$c/cmdline")
  u=
  if [ "$c/root$STORAGE" -ef "$STORAGE" ] && ls -l "$c/fd" 2>/dev/null | grep -qF -e "-> $STORAGE/"; then u=1; fi
  case " $w " in *" $CONFIG "*|*"=$CONFIG "*) if [ "$c/root$CONFIG" -ef "$CONFIG" ]; then u=1; fi;; esac
  [ -n "$u" ] || continue
  n=$((n + 1))
  kv "other.$n" "${c#/proc/} $(sed -n '1s/.*\///p' "$c/cgroup") $w"
  [ "$n" -lt 5 ] || break
done
`

// otherTbots refuses a host on which somebody else's tbot has what ours would use: two in one storage end each other.
func (p *planner) otherTbots() {
	for _, o := range p.f.others {
		p.problem("other tbot", outcome.NotOurs,
			fmt.Sprintf("a tbot that %s did not start uses %s or %s: process %d of %s (%s)", UnitName, p.d.Tbot.Storage, p.d.Tbot.Config,
				o.pid, o.unit, strings.TrimSpace(o.command)),
			"stop it, and what starts it, or set tbot.storage and tbot.config to paths of their own")
	}
}
