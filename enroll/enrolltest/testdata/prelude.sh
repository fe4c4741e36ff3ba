LC_ALL=C; export LC_ALL
ingroup() {
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
has() { command -v "$1" >/dev/null 2>&1; }
odd='[! -~]' nl='
'
kv() {
  case $2 in
    *$odd*) printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n\t' '  ' | tr -cd ' -~' | cut -c1-1000)";;
    *) printf '%s=%.1000s\n' "$1" "$2";;
  esac
}
up() { up=${1%/*}; up=${up:-/}; }
as_for=:
asuser() {
  as_script=$1; shift
  if [ "$as_for" != "$U" ]; then
    as_uid=$(id -u "$U") && as_gid=$(id -g "$U") || return 125
    as_for=$U
    if [ "$as_uid" = 0 ]; then as_how=root
    elif setpriv --reuid="$as_uid" --regid="$as_gid" --init-groups true >/dev/null 2>&1; then as_how=setpriv
    elif has runuser; then as_how=runuser
    else as_how=su
    fi
  fi
  case $as_how in
    root) sh -c "$as_script" sh "$@";;
    setpriv) setpriv --reuid="$as_uid" --regid="$as_gid" --init-groups sh -c "$as_script" sh "$@";;
    runuser) runuser -u "$U" -- sh -c "$as_script" sh "$@";;
    *) su -s /bin/sh "$U" -c "$as_script" sh "$@";;
  esac
}
nologin() {
  for c in /usr/sbin/nologin /sbin/nologin /bin/false; do if [ -x "$c" ]; then echo "$c"; return; fi; done
}
alone() {
  al=$(changeable "$1")
  [ -z "$al" ] || { echo "others than root can change ${al%% *} (${al#* }): root writes and runs nothing there" >&2; return 1; }
}
parents() {
  up "$1"
  alone "$up" || return 1
  [ -d "$up" ] || { ( umask 022; mkdir -p "$up" ) && alone "$up"; }
}
stage() {
  if [ -L "$1" ]; then echo "$1 is a symbolic link" >&2; return 1; fi
  parents "$1/x" && chmod 0700 "$1"
}
plain() {
  [ -f "$1" ] || return 1
  if [ -z "$(changeable "$1")" ]; then cat <"$1"; return; fi
  (
    exec 4<"$1" && [ -f /proc/self/fd/4 ] && [ "$(stat -L -c '%d:%i' /proc/self/fd/4) 1" = "$(stat -c '%d:%i %h' "$1")" ] ||
      { echo "others than root can change $1, and it is no file of its own" >&2; exit 1; }
    cat <&4
  )
}
sole() { [ -f "$1" ] && [ ! -L "$1" ] && [ "$(stat -c '%u %h' "$1")" = "0 1" ]; }
mounted() {
  while read -r _ _ _ _ at _; do if [ "$at" = "$1" ]; then return 0; fi; done 2>/dev/null </proc/self/mountinfo
  return 1
}
asunit() {
  as_more=$(getent group "$A" 2>/dev/null || grep "^$A:" /etc/group) && as_more=$(echo "$as_more" | cut -d: -f3)
  as_groups=$(id -G "$U" 2>/dev/null | tr ' ' ,),$as_more
  if [ -n "$as_more" ] && [ "$(id -u "$U")" != 0 ] &&
    setpriv --reuid="$(id -u "$U")" --regid="$(id -g "$U")" --groups="$as_groups" true >/dev/null 2>&1
  then
    as_script=$1; shift
    setpriv --reuid="$(id -u "$U")" --regid="$(id -g "$U")" --groups="$as_groups" sh -c "$as_script" sh "$@"
  else asuser "$@"
  fi
}
holder() {
  ho_want=$(printf ':%04X,0A' "$1")
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ ho_at _ ho_state _ _ _ _ _ ho_inode _; do
    case $ho_at,$ho_state in *"$ho_want") ;; *) continue;; esac
    ho_pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null |
      sed -n -e '/^\/proc\//h' -e "/socket:\[$ho_inode\]/{g;s,^/proc/\([0-9]*\)/.*,\1,p;q;}")
    if [ -n "$ho_pid" ]; then echo "$ho_pid $(cat "/proc/$ho_pid/comm")"; break; fi
  done
}
opens() {
  op_out=$(asunit '( exec 3<>"$1" )' "$1" </dev/null 2>&1) && { echo ok; return; }
  case $op_out in
    *ermission\ denied*|*not\ permitted*) echo denied;;
    *usy*) echo busy;;
    *) echo failed;;
  esac
}
bracket() { case $1 in *:*) echo "[$1]";; *) echo "$1";; esac; }
http() {
  has curl || has bash || has wget || return 0
  http_said=$(httpraw "$1" "$2" "$3" 2>/dev/null | head -c 16384 | tr -d '\r\000' |
    sed -e '1{' -e 's/^HTTP[^ ]* \([0-9][0-9][0-9]\).*/\1/' -e p -e '}' -e '1,/^$/d')
  case $http_said in [0-9][0-9][0-9]*) printf '%s\n' "$http_said";; *) echo 000;; esac
}
httpraw() {
  url="http://$(bracket "$1"):$2$3"
  if has curl; then curl -s -g -i --noproxy '*' -m 3 "$url"
  elif has bash; then
    bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" "$3" "$1" >&3 || exit
      while IFS= read -r -t 3 l <&3 || [ -n "$l" ]; do printf "%s\n" "$l"; done' bash "$1" "$2" "$3"
  elif http_said=$(wget -q -T 3 -O - "$url"); then printf 'HTTP/1.0 200 OK\n\n%s\n' "$http_said"
  else wget -S -T 3 -O /dev/null "$url" 2>&1 | sed -n 's/.*\(HTTP\/1\.[01] [0-9][0-9][0-9]\).*/\1/p' | head -n 1
  fi
}
