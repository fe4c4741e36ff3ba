BIN=''
SUM=''
U=teleport
G=teleport
A=tss
DEV=''
STORAGE=/var/lib/teleport/bot
UNIT=/etc/systemd/system/tbot.service
PENDING=/run/fleetctl-tbot.pending
DIAGHOST=127.0.0.1
DIAGPORT=''
CONFIG=/etc/tbot.yaml
#prelude
kv uid "$(id -u)"
kv arch "$(uname -m)"
kv now "$(date +%s)"
if [ -d /run/systemd/system ] && has systemctl; then
  kv systemd "$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
fi
if has udevadm && [ -e /run/udev/control ]; then echo udev=1; fi
tools=
for c in bash curl wget dpkg rpm; do if has $c; then tools="$tools $c"; fi; done
kv tools "${tools# }"
if has getenforce; then kv selinux "$(getenforce 2>/dev/null)"; fi
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then echo apparmor=1; fi
find_tbot() {
  for c in "$(command -v tbot 2>/dev/null)" /usr/local/bin/tbot /opt/teleport/default/bin/tbot /opt/teleport/system/bin/tbot; do
    case $c in /*) if [ -x "$c" ]; then echo "$c"; return; fi;; esac
  done
}
t=$BIN
[ -n "$t" ] || t=$(find_tbot)
if [ -n "$t" ] && [ -f "$t" ] && [ -x "$t" ]; then
  kv tbot.path "$t"
  if [ -L "$t" ]; then kv tbot.link "$(readlink -f "$t")"; fi
  if has timeout; then v=$(timeout 20 "$t" version 2>/dev/null); else v=$("$t" version 2>/dev/null); fi
  kv tbot.version "$(printf '%s' "$v" | head -n 1)"
  case $SUM,$v in ,*|*" v$SUM "*) ;; *) kv tbot.sha256 "$(sha256sum <"$t" | cut -d' ' -f1)";; esac
fi
account() {
  if has getent; then getent "$1" "$2"; else grep "^$2:" "/etc/$1"; fi 2>/dev/null | head -n 1
}
e=$(account passwd "$U")
if [ -n "$e" ]; then
  kv user.uid "$(printf '%s' "$e" | cut -d: -f3)"
  kv user.comment "$(printf '%s' "$e" | cut -d: -f5)"
  kv user.groups "$(id -nG "$U" 2>/dev/null)"
fi
if [ -n "$(account group "$G")" ]; then echo group=1; fi
if [ -n "$(account group "$A")" ]; then echo access.group=1; fi
tpm_device() {
  known=
  for c in /sys/class/tpm/tpm*; do
    [ -e "$c" ] || continue
    known=1
    v=$(cat "$c/tpm_version_major" 2>/dev/null)
    [ "${v:-2}" = 2 ] || continue
    n=${c##*/tpm}
    if [ -e "/dev/tpmrm$n" ]; then echo "/dev/tpmrm$n"; else echo "/dev/tpm$n"; fi
    return
  done
  if [ -n "$known" ]; then return; fi
  for c in /dev/tpmrm[0-9]* /dev/tpm[0-9]*; do
    if [ -e "$c" ]; then echo "$c"; return; fi
  done
}

for c in /etc/udev/rules.d/*.rules /run/udev/rules.d/*.rules /usr/lib/udev/rules.d/*.rules /lib/udev/rules.d/*.rules; do
  [ -f "$c" ] && [ "${c##*/}" != 60-fleetctl-tpm.rules ] || continue
  if grep -q "^[^#]*KERNEL==\"tpmrm.*GROUP=\"$A\"" "$c" 2>/dev/null; then kv rules "$c"; break; fi
done
o= n=
for c in /sys/class/tpm/tpm*; do
  [ -e "$c" ] || continue
  if [ "$(cat "$c/tpm_version_major" 2>/dev/null)" = 1 ]; then o=1; else n=1; fi
done
if [ -n "$n" ]; then echo device.sysfs=1; elif [ -n "$o" ]; then echo device.tpm12=1; fi
[ -n "$DEV" ] || DEV=$(tpm_device)
if [ -n "$DEV" ] && [ -e "$DEV" ]; then
  kv device.path "$DEV"
  if [ -c "$DEV" ]; then echo device.type=char; elif [ -S "$DEV" ]; then echo device.type=socket
  else echo device.type=other; fi
  kv device.stat "$(stat -L -c '%a %U %G' "$DEV")"
  if [ -n "$e" ] && [ -c "$DEV" ]; then kv device.opens "$(opens "$DEV")"; fi
fi
dir() {
  if [ -L "$2" ]; then t=link; elif [ -d "$2" ]; then t=dir; elif [ -e "$2" ]; then t=other; else return 0; fi
  s=$(stat -c '%a %U %G %s' "$2") || return 0
  case $s in *UNKNOWN*) s=$(stat -c '%a %u %g %s' "$2");; esac
  echo "dir.$1=$t $s"
}
dir storage "$STORAGE"
if [ -n "$(ls -A "$STORAGE" 2>/dev/null | grep -vx lost+found | head -n 1)" ]; then echo storage.filled=1; fi
p=$STORAGE
while [ ! -e "$p" ] && [ "$p" != / ]; do p=$(dirname "$p"); done
case $(findmnt -n -o FSTYPE,OPTIONS -T "$p" 2>/dev/null) in
  *noacl*|vfat*|exfat*|msdos*) echo storage.acl=none;;
  ?*) echo storage.acl=ok;;
esac
if [ -n "$e" ]; then
  if [ "$p" = "$STORAGE" ]; then q='[ -w "$1" ] && [ -x "$1" ]'; else q='[ -x "$1" ]'; fi
  if asuser "$q" "$p" </dev/null 2>/dev/null; then echo storage.usable=ok; else echo storage.usable=denied; fi
fi
if [ -e "$PENDING" ]; then echo pending=1; fi
if [ -d /run/systemd/system ] && has systemctl; then
  systemctl show tbot.service -p LoadState -p ActiveState -p UnitFileState -p FragmentPath -p NeedDaemonReload -p User \
    -p ExecStart 2>/dev/null |
  while IFS='=' read -r k v; do
    case $k in
      LoadState) kv service.load "$v";;
      ActiveState) kv service.active "$v";;
      UnitFileState) kv service.enabled "$v";;
      NeedDaemonReload) kv service.reload "$v";;
      User) if [ -n "$v" ]; then kv service.user "$v"; fi;;
      ExecStart) kv service.command "$(printf '%s' "$v" | sed -e 's/.*argv\[\]=//' -e 's/ ; .*//')";;
      FragmentPath)
        if [ -n "$v" ]; then kv service.fragment "$v"; fi
        if [ -n "$v" ] && [ "$v" != "$UNIT" ] && [ -f "$v" ]; then
          kv service.header "$(head -n 1 "$v")"
          kv service.start "$(sed -n 's/^ExecStart=//p' "$v" | tail -n 1)"
        fi;;
    esac
  done
  r=
  if [ -n "$DIAGPORT" ]; then r=$(http "$DIAGHOST" "$DIAGPORT" /readyz); fi
  if [ -n "$r" ]; then
    kv ready "$(printf '%s\n' "$r" | head -n 1)"
    printf 'ready.body=%s\n' "$(printf '%s\n' "$r" | tail -n +2 | tr -s '\n\t ' ' ' | tr -cd ' -~')"
  fi
fi
n=0
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
n=0 read=
for d in /etc/systemd/system.control /run/systemd/system.control /run/systemd/transient /run/systemd/generator.early \
  /etc/systemd/system /run/systemd/system /run/systemd/generator /usr/local/lib/systemd/system /usr/lib/systemd/system \
  /lib/systemd/system /run/systemd/generator.late; do
  [ -d /run/systemd/system ] || break
  for c in "$d"/tbot.service.d/*.conf "$d"/service.d/*.conf; do
    w=${c##*/}
    case $read in *"/$w/"*) continue;; esac
    [ -f "$c" ] || [ -c "$c" ] || continue
    read="$read/$w/"
    case $c in /etc/systemd/system/tbot.service.d/10-fleetctl-*|/etc/systemd/system/tbot.service.d/20-fleetctl.conf) continue;; esac
    [ -f "$c" ] && [ "$(stat -L -c %s "$c")" -le 16384 ] && [ "$n" -lt 30 ] || continue
    n=$((n + 1))
    kv "dropin.$n" "$c"
    printf 'conf.%s=' "$n"; od -An -v -tx1 <"$c" | tr -d ' \n'; echo
  done
done
file() {
  if [ -L "$2" ]; then t=link; elif [ -f "$2" ]; then t=file; elif [ -d "$2" ]; then t=dir
  elif [ -e "$2" ]; then t=other; else return 0; fi
  s=$(stat -c '%a %U %G %s' "$2") || return 0
  case $s in *UNKNOWN*) s=$(stat -c '%a %u %g %s' "$2");; esac
  echo "file.$1=$t $s"
  if [ -e "$2.orig" ]; then echo "orig.$1=1"; fi
  if [ "$t" = file ] && [ "${s##* }" -le 65536 ]; then
    printf 'data.%s=' "$1"; od -An -v -tx1 <"$2" | tr -d ' \n'; echo
  fi
}
everybody() { if has getent; then getent passwd; else cat /etc/passwd; fi 2>/dev/null; }
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
  at=$(dirname "$2")
  if [ -e "$at" ]; then return 0; fi
  while [ ! -e "$at" ]; do at=$(dirname "$at"); done
  kv "above.$1" "$at"
}
file 0 /etc/tbot.yaml
file 1 /etc/systemd/system/tbot.service
file 2 /etc/systemd/system/tbot.service.d/10-fleetctl-hardening.conf
file 3 /etc/systemd/system/tbot.service.d/10-fleetctl-tpm.conf
file 4 /etc/systemd/system/tbot.service.d/20-fleetctl.conf
file 5 /etc/udev/rules.d/60-fleetctl-tpm.rules
above 0 /etc/tbot.yaml
above 1 /etc/systemd/system/tbot.service
above 2 /etc/systemd/system/tbot.service.d/10-fleetctl-hardening.conf
above 3 /etc/systemd/system/tbot.service.d/10-fleetctl-tpm.conf
above 4 /etc/systemd/system/tbot.service.d/20-fleetctl.conf
above 5 /etc/udev/rules.d/60-fleetctl-tpm.rules
above 6 /var/lib/teleport/bot
echo end=1
