package host

import (
	"fmt"

	"fleetctl/remote"
)

// Root's scripts act on paths whose directories may belong to somebody else: tbot's user has its storage, and an output may lie in
// anybody's home. Whoever can write to a directory can put a link where something else was, between a look and the act. Two rules
// keep root from being led elsewhere:
//
//   - What root writes, runs or installs (configuration, unit, program, packages) lies below directories that root alone can change:
//     parents, stage and alone refuse any other. Then nothing can be swapped, and paths are safe to use.
//   - What belongs to others (storage, outputs) is gone to step by step, and root acts on where it stands (placeFunctions).

// placeFunctions are for scripts that change something in a directory that isn't root's alone. into DIR [make]: go there, one
// directory after the other; a link is followed only out of a directory that root alone can change. makedir DIR MODE OWNER GROUP: make a
// directory, with those above it, and give it away. own PATH MODE OWNER GROUP: give a directory that is there another owner and
// mode, or anything else where root alone can change what lies there. rmfile FILE…: remove files of one directory. gone DIR: remove a
// directory that is empty. empty DIR: take all that is in it, but nothing where something else is mounted below. emptyof DIR USER: take the
// files of a user that lie in it. tree DIR: take it, too; a mount point stays.
//
// To empty a directory, what is in it is first moved into one that root has made and stands in: names move, and nothing of them is
// followed. There directories are taken by root before they are looked into, one by one and not one in another, so that
// neither links nor depth lead rm anywhere.
const placeFunctions = `into() {
  cd -P / || return 1
  in_rest=$1
  while :; do
    while :; do case $in_rest in /*) in_rest=${in_rest#/};; *) break;; esac; done
    [ -n "$in_rest" ] || return 0
    in_name=${in_rest%%/*} in_here=$(pwd -P)
    in_rest=${in_rest#"$in_name"} in_here=${in_here%/}
    if [ -n "$2" ] && [ ! -e "./$in_name" ] && [ ! -L "./$in_name" ]; then mkdir "./$in_name" || return 1; fi
    if [ -L "./$in_name" ] && [ -z "$(others .)" ]; then
      cd -P "./$in_name" || return 1
    else
      cd -P "./$in_name" && [ "$(pwd -P)" = "$in_here/$in_name" ] || {
        echo "$in_here/$in_name is no directory, or not the one that it was" >&2
        return 1
      }
    fi
  done
}
fresh() {
  fr_here=$(pwd -P)
  cd -P "./$1" && [ "$(pwd -P)" = "${fr_here%/}/$1" ] || return 1
  case $(stat -c '%u %a' .) in "0 700"|"0 2700") ;; *) return 1;; esac
}
makedir() (
  umask 022
  into "${1%/*}" make || exit 1
  mkdir -m 0700 "./${1##*/}" || exit 1
  fresh "${1##*/}" && [ -z "$(ls -A .)" ] || { echo "$1 is not the directory that was made" >&2; exit 1; }
  chown "$3:$4" . && chmod "$2" .
)
own() (
  if [ ! -d "$1" ] || [ -L "$1" ]; then
    alone "${1%/*}" && chown "$3:$4" "$1" && chmod "$2" "$1"
    exit
  fi
  into "$1" || exit 1
  if [ "$(stat -c %u .)" = 0 ] && [ -n "$(others ..)" ]; then
    echo "$1 is root's, in a directory that others can change: it is not given away" >&2
    exit 1
  fi
  chown "$3:$4" . && chmod "$2" .
)
rmfile() (
  [ -d "${1%/*}/" ] || exit 0
  into "${1%/*}" || exit 1
  for f in "$@"; do rm -f "./${f##*/}" || exit 1; done
)
gone() ( into "${1%/*}" && rmdir "./${1##*/}" ) 2>/dev/null
loose() {
  [ -r /proc/self/mountinfo ] || return 0
  while read -r _ _ _ _ at _; do
    case $at in "$1"/*) echo "$at is mounted there: it stays, and so does $1" >&2; return 1;; esac
  done </proc/self/mountinfo
  return 0
}
wipe() {
  n=0 more=1
  while [ -n "$more" ]; do
    more=
    for d in ./* ./.[!.]* ./..?*; do
      if [ ! -d "$d" ] || [ -L "$d" ]; then rm -f "$d" || return 1; continue; fi
      more=1
      cd -P "$d" && chown 0:0 . && chmod 0700 . || return 1
      for c in ./* ./.[!.]* ./..?*; do
        if [ ! -d "$c" ] || [ -L "$c" ]; then rm -f "$c" || return 1; continue; fi
        n=$((n + 1))
        mv -f "$c" "../$$.$n" || return 1
      done
      cd .. && rmdir "$d" || return 1
    done
  done
}
empty() (
  if [ -L "$1" ]; then echo "$1 is a symbolic link by now" >&2; exit 1; fi
  loose "$1" && into "$1" || exit 1
  mkdir -m 0700 ./.fleetctl-gone 2>/dev/null || :
  fresh .fleetctl-gone && wipe || { echo "$1/.fleetctl-gone is not root's alone" >&2; exit 1; }
  i=0
  for e in ../* ../.[!.]* ../..?*; do
    case ${e#../} in lost+found|.fleetctl-gone) continue;; esac
    if [ ! -e "$e" ] && [ ! -L "$e" ]; then continue; fi
    i=$((i + 1))
    mv -f "$e" "./e$i" || exit 1
  done
  wipe && cd .. && rmdir ./.fleetctl-gone
)
emptyof() (
  cd -P "$1" && [ "$(pwd -P)" = "$1" ] || exit 1
  for c in ./* ./.[!.]* ./..?*; do
    if [ -f "$c" ] && [ ! -L "$c" ] && [ "$(stat -c %u "$c")" = "$(id -u "$2")" ]; then rm -f "$c" || exit 1; fi
  done
)
tree() (
  if [ ! -e "$1" ] && [ ! -L "$1" ]; then exit 0; fi
  empty "$1" || exit 1
  if mounted "$1"; then exit 0; fi
  into "${1%/*}" || exit 1
  rmdir "./${1##*/}/lost+found" 2>/dev/null || :
  rmdir "./${1##*/}"
)
`

// The script words for one path each; paths and names are quoted.
func ownScript(path, owner, group string, mode uint32) string {
	return fmt.Sprintf("own %s %04o %s %s", remote.Quote(path), mode, remote.Quote(owner), remote.Quote(group))
}

func makeDirScript(dir, owner, group string, mode uint32) string {
	return fmt.Sprintf("makedir %s %04o %s %s", remote.Quote(dir), mode, remote.Quote(owner), remote.Quote(group))
}

// removeFile removes files of one directory.
func removeFile(file string, besides ...string) string {
	script := "rmfile " + remote.Quote(file)
	for _, f := range besides {
		script += " " + remote.Quote(f)
	}
	return script
}
