package sh

// Changeable is the function changeable PATH, which prints the first thing on the way to PATH, or PATH itself, that somebody besides
// root can change, as "PATH MODE OWNER GROUP"; nothing where root alone can. Links are followed one by one, since whoever can
// change a directory decides where a link in it leads. In a sticky directory (/tmp) what root has made stays root's, and
// everything else is anybody's. A group that nobody but root is in counts as nobody. What is not there yet can be made by whoever
// may write to the directory above it. others NODE says it of one thing alone: "MODE OWNER GROUP".
// rootsway PATH is the short way for most: all of it is there, root's, and neither a link nor writable for anybody else.
const Changeable = `ingroup() {
  ig=$( { getent group "$1" || grep "^[^:]*:[^:]*:$1:" /etc/group; } 2>/dev/null | head -n 1 | cut -d: -f4 | tr ',' '\n' | grep -v '^root$')
  [ -z "$ig" ] || return 0
  { getent passwd || cat /etc/passwd; } 2>/dev/null | grep "^[^:]*:[^:]*:[0-9]*:$1:" | grep -q -v '^[^:]*:[^:]*:0:'
}
others() {
  ot=$(stat -c '%u %g 000%a %U %G' "$1" 2>/dev/null) || return 0
  set -- "$1" $ot
  ot=${4#"${4%??}"}
  case $2 in 0) case $ot in
    *[2367]) ;;
    [2367]?)
      case $(ls -ld "$1" 2>/dev/null) in ??????????+*) ;; *) ingroup "$3" || return 0;; esac;;
    *) return 0;;
  esac;; esac
  echo "${4#"${4%????}"} $5 $6"
}
rootsway() {
  rw_at=$1
  case $rw_at/ in *//*|*/./*|*/../*) return 1;; /*) ;; *) return 1;; esac
  set -- /
  while [ -n "$rw_at" ]; do set -- "$@" "$rw_at"; rw_at=${rw_at%/*}; done
  rw_said=$(stat -c '@%u 000%a %F' "$@" 2>/dev/null) || return 1
  case $rw_said in *@[!0]*|*@0[!\ ]*|*[2367]\ [a-z]*|*[2367]?\ [a-z]*|*symbolic*) return 1;; esac
}
changeable() {
  if rootsway "$1"; then return 0; fi
  ch_at= ch_rest=$1 ch_hops=0 ch_open=
  while :; do
    while :; do case $ch_rest in /*) ch_rest=${ch_rest#/};; *) break;; esac; done
    if [ -L "$ch_at" ]; then
      ch_to=$(readlink "$ch_at") ch_hops=$((ch_hops + 1))
      if [ -n "$ch_open" ] && [ "$(stat -c %u "$ch_at")" != 0 ] || [ "$ch_hops" -gt 40 ]; then
        echo "$ch_at 0777 $(stat -c '%U %G' "$ch_at")"
        return
      fi
      case $ch_to in /*) ch_at=;; *) ch_at=${ch_at%/*};; esac
      ch_rest=$ch_to/$ch_rest ch_open=
      continue
    fi
    if ! [ -e "${ch_at:-/}" ]; then
      if [ -n "$ch_open" ]; then echo "$ch_open"; fi
      return
    fi
    ch_said=$(others "${ch_at:-/}") ch_open=
    case $ch_rest,$ch_said in
      *,) ;;
      ?*,1???\ root\ *) ch_open="${ch_at:-/} $ch_said";;
      *) echo "${ch_at:-/} $ch_said"; return;;
    esac
    [ -n "$ch_rest" ] || return 0
    ch_name=${ch_rest%%/*}
    ch_rest=${ch_rest#"$ch_name"}
    case $ch_name in .) ;; ..) ch_at=${ch_at%/*};; *) ch_at=$ch_at/$ch_name;; esac
  done
}
`
