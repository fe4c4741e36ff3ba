package host

import (
	"errors"
	"fleetctl/enroll/config"
	"fleetctl/enroll/sh"
	"fleetctl/remote"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// assignments are the variables on top of a script, quoted.
func assignments(vars ...shellVar) string {
	var b strings.Builder
	for _, v := range vars {
		b.WriteString(v.name + "=" + remote.Quote(v.value) + "\n")
	}
	return b.String()
}

// scriptPrelude is what the scripts for facts, apply and verify share. has: is there such a command? kv: print a fact;
// free text loses what is not printable. up: sets up to the directory
// that a path lies in. asuser: run a script as tbot's user, with the groups that the files say it
// has; its words come after the script. nologin: the shell of an account that nobody logs in to. alone: nobody but root can
// change what lies at a path. parents: make the directories above a path, which has to be so. stage: make a directory of root's
// alone, where something waits for root to install it. plain: what is in a regular file; where others than root can change
// the way to it, only of one that no link, hard or symbolic, leads to. sole: a file of root's that has no other name.
// mounted: is it a mount point? asunit: as asuser, with the group $A besides, as the unit gives it to tbot. holder: the process
// that listens at a TCP port, and its name. opens: what opening a device as tbot in its unit says. http: a GET by whatever can
// do it; the status code, 000 where nothing answers, then the body, 16 KiB of it at most and none of an error where only
// wget is there.
const scriptPrelude = `LC_ALL=C; export LC_ALL
` + sh.Changeable + `has() { command -v "$1" >/dev/null 2>&1; }
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
`

// shellVar is a variable on top of a script.
type shellVar struct{ name, value string }

// setStat reads "640 root teleport" and, where size isn't nil, a size after it.
func setStat(v string, mode *uint32, owner, group *string, size *int64) error {
	fields := strings.Fields(v)
	want := 3
	if size != nil {
		want = 4
	}
	if len(fields) != want {
		return errors.New("not mode, owner and group")
	}
	m, err := strconv.ParseUint(fields[0], 8, 16)
	if err != nil {
		return err
	}
	*mode, *owner, *group = uint32(m), fields[1], fields[2]
	if size != nil {
		*size, err = strconv.ParseInt(fields[3], 10, 64)
	}
	return err
}

func setNumber(v string, to *int) (err error) {
	*to, err = strconv.Atoi(v)
	return err
}

func setTruth(v string, to *bool) error {
	*to = v == "1"
	if !*to {
		return errors.New("not 1")
	}
	return nil
}

func setPath(v string, to *string) error {
	if !cleanPath(v) {
		return errors.New("not a clean absolute path")
	}
	*to = v
	return nil
}

func setWord(v string, to *string, allowed ...string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("none of %s", strings.Join(allowed, ", "))
	}
	*to = v
	return nil
}

// cleanPath says whether a host's path is one that we handle.
func cleanPath(p string) bool { return config.Path(p).Check() == nil }
