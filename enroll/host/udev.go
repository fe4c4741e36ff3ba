package host

import (
	"errors"
	"fmt"
	"strings"

	"fleetctl/enroll/outcome"
)

// given is what udev's rules make of the TPM at the next boot, ours among them: whoever comes last decides, unless one before
// has said ":=". A word that no rule says is "-".
type given struct {
	owner, group, mode string
	by                 string // the file of the rule that decides, where that isn't ours
}

// set reads "OWNER GROUP MODE FILE".
func (g *given) set(v string) error {
	words := strings.Split(v, " ")
	if len(words) != 4 || words[3] != "-" && !cleanPath(words[3]) {
		return errors.New("not three words and a path")
	}
	*g = given{words[0], words[1], words[2], strings.TrimPrefix(words[3], "-")}
	return nil
}

// rulesScript goes through udev's rules as udev does: by file name, those of /etc before those of the same name elsewhere,
// and ours where it will be. Rules are told by KERNEL and SUBSYSTEM; what stands behind other conditions is taken for true, since a
// rule that gives the TPM away now and then does it at some boot.
const rulesScript = `unglob() { case $1 in $2) return 0;; esac; return 1; }
matches() { ( IFS='|'; set -f; for w in $2; do if unglob "$1" "$w"; then exit 0; fi; done; exit 1 ); }
condition() { printf '%s\n' ",$1" | sed -n "s/.*[, ]$2==\"\([^\"]*\)\".*/\1/p"; }
assigned() {
  v=$(printf '%s\n' "$1" | sed -n "s/.*[, ]$2\(:\{0,1\}\)=\"\([^\"=]*\)\".*/\1 \2/p")
  case $v,$final in ,*|*" $2 "*) return 1;; esac
  case $v in :*) final="$final $2 ";; esac
  v=${v#* } by=$c
}
if [ -e /run/udev/control ] && [ -n "$DEV" ]; then
  k=${DEV##*/} own=- grp=- mod=- by=- final= names=
  about=$(grep -l tpm /etc/udev/rules.d/*.rules /run/udev/rules.d/*.rules /usr/local/lib/udev/rules.d/*.rules \
    /usr/lib/udev/rules.d/*.rules /lib/udev/rules.d/*.rules 2>/dev/null)
  for d in /etc /run /usr/local/lib /usr/lib /lib; do
    for c in "$d"/udev/rules.d/*.rules; do
      case $names in *"$nl${c##*/} "*) continue;; esac
      if [ -e "$c" ] || [ -L "$c" ]; then names="$names$nl${c##*/} $c"; fi
    done
  done
  case $names in *" $RULES"*) ;; *) names="$names$nl${RULES##*/} $RULES";; esac
  while read -r n c; do
    if [ "$c" = "$RULES" ]; then
      case $final in *" GROUP "*) ;; *) grp=$A by=-;; esac
      case $final in *" MODE "*) ;; *) mod=0660;; esac
      continue
    fi
    case "$nl$about$nl" in *"$nl$c$nl"*) ;; *) continue;; esac
    while IFS= read -r l; do
      case $l in \#*) continue;; *tpm*) ;; *) continue;; esac
      w=$(condition "$l" KERNEL) v=$(condition "$l" SUBSYSTEM)
      case $w,$v in
        ,) continue;;
        *,?*) matches "${k%%[0-9]*}" "$v" || continue;;
      esac
      if [ -n "$w" ]; then matches "$k" "$w" || continue; fi
      if assigned "$l" OWNER; then own=$v; fi
      if assigned "$l" GROUP; then grp=$v; fi
      if assigned "$l" MODE; then mod=$v; fi
    done <<LINES
$(tr '\t' ' ' <"$c" | sed -e ':a' -e '/\\$/{' -e 'N' -e 's/\\\n/ /' -e 'ta' -e '}')
LINES
  done <<FILES
$(printf '%s\n' "$names" | sed 1d | sort)
FILES
  case "$own $grp $mod" in *\ *\ *\ *) ;; *) kv device.gives "$own $grp $mod $by";; esac
fi
`

// ruledOut is a rule that takes the TPM from tbot's user again, at the next boot at the latest.
func (p *planner) ruledOut() bool {
	g, dev := p.f.device.gives, p.f.device
	switch {
	case !p.f.udevOwns() || g.by == "" || dev.typ != "char":
		return false
	case g.group == accessGroup && groupMay(g.mode), g.owner == p.d.Tbot.User && ownerMay(g.mode), othersMay(g.mode):
		return false
	}
	said := []string{}
	for _, w := range []struct{ key, value string }{{"owner", g.owner}, {"group", g.group}, {"mode", g.mode}} {
		if w.value != "-" {
			said = append(said, w.key+" "+w.value)
		}
	}
	p.problem("TPM access", outcome.TPMPermission, fmt.Sprintf("the udev rule of %s wins over that for group %s: by it %s has %s",
		g.by, accessGroup, dev.path, strings.Join(said, ", ")),
		fmt.Sprintf("let that rule say GROUP=%q and MODE=\"0660\", or take it away", accessGroup))
	return true
}

// groupMay, ownerMay and othersMay say whether a mode in octal lets them read and write. No mode at all is udev's: 0660 for
// a group, else 0600.
func groupMay(mode string) bool  { return mode == "-" || digit(mode, 2)&6 == 6 }
func ownerMay(mode string) bool  { return mode == "-" || digit(mode, 3)&6 == 6 }
func othersMay(mode string) bool { return digit(mode, 1)&6 == 6 }

// digit is the n-th digit of a mode from its end, from 1 on; 0 for none.
func digit(mode string, n int) int {
	if len(mode) < n {
		return 0
	}
	if c := mode[len(mode)-n]; c >= '0' && c <= '7' {
		return int(c - '0')
	}
	return 0
}
