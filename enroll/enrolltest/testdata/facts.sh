U=teleport
G=teleport
A=tss
DEV=''
STORAGE=/var/lib/teleport/bot
BIN=''
UNIT=/etc/systemd/system/tbot.service
PENDING=/run/fleetctl-tbot.pending
DIAGHOST=''
DIAGPORT=''
SUM=''
LC_ALL=C; export LC_ALL
PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"; export PATH
has() { command -v "$1" >/dev/null 2>&1; }
kv() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n\t' '  ' | tr -cd ' -~' | cut -c1-1000)"; }
asuser() {
  as_script=$1; shift
  as_uid=$(id -u "$U") && as_gid=$(id -g "$U") || return 125
  if [ "$as_uid" = 0 ]; then sh -c "$as_script" sh "$@"
  elif setpriv --reuid="$as_uid" --regid="$as_gid" --init-groups true >/dev/null 2>&1; then
    setpriv --reuid="$as_uid" --regid="$as_gid" --init-groups sh -c "$as_script" sh "$@"
  elif has runuser; then runuser -u "$U" -- sh -c "$as_script" sh "$@"
  else su -s /bin/sh "$U" -c "$as_script" sh "$@"
  fi
}
nologin() {
  for c in /usr/sbin/nologin /sbin/nologin /bin/false; do if [ -x "$c" ]; then echo "$c"; return; fi; done
}
parents() { ( umask 022; mkdir -p "$(dirname "$1")" ) }
opens() {
  op_out=$(asuser '( exec 3<>"$1" )' "$1" </dev/null 2>&1) && { echo ok; return; }
  case $op_out in
    *ermission\ denied*|*not\ permitted*) echo denied;;
    *usy*) echo busy;;
    *) echo failed;;
  esac
}
bracket() { case $1 in *:*) echo "[$1]";; *) echo "$1";; esac; }
http() {
  if has curl; then curl -s -g --noproxy '*' -o /dev/null -m 3 -w '%{http_code}' "http://$(bracket "$1"):$2$3" 2>/dev/null || :
  elif has bash; then
    bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" "$3" "$1" >&3 &&
      read -r -t 3 _ code _ <&3 && printf %s "$code"' bash "$1" "$2" "$3" 2>/dev/null || printf 000
  elif has wget; then
    if wget -q -T 3 -O /dev/null "http://$(bracket "$1"):$2$3" 2>/dev/null; then printf 200; else printf 000; fi
  fi
}
file() {
  if [ -L "$2" ]; then t=link; elif [ -f "$2" ]; then t=file; elif [ -d "$2" ]; then t=dir
  elif [ -e "$2" ]; then t=other; else return 0; fi
  s=$(stat -c '%a %U %G %s' "$2") || return 0
  echo "file.$1=$t $s"
  if [ "$t" = file ] && [ "${s##* }" -le 65536 ]; then
    printf 'data.%s=' "$1"; od -An -v -tx1 <"$2" | tr -d ' \n'; echo
  fi
}
dir() {
  if [ -L "$2" ]; then t=link; elif [ -d "$2" ]; then t=dir; elif [ -e "$2" ]; then t=other; else return 0; fi
  s=$(stat -c '%a %U %G %s' "$2") || return 0
  echo "dir.$1=$t $s"
}
osrelease() { sed -n "s/^$1=//p" /etc/os-release 2>/dev/null | head -n 1 | tr -d "\"'"; }
account() {
  if has getent; then getent "$1" "$2"; else grep "^$2:" "/etc/$1"; fi 2>/dev/null | head -n 1
}
device() {
  if [ -n "$DEV" ]; then echo "$DEV"; return; fi
  for c in /sys/class/tpm/tpm*; do
    [ -e "$c" ] || continue
    v=$(cat "$c/tpm_version_major" 2>/dev/null)
    [ "${v:-2}" = 2 ] || continue
    n=${c##*/tpm}
    if [ -e "/dev/tpmrm$n" ]; then echo "/dev/tpmrm$n"; else echo "/dev/tpm$n"; fi
    return
  done
  for c in /dev/tpmrm[0-9]* /dev/tpm[0-9]*; do
    if [ -e "$c" ]; then echo "$c"; return; fi
  done
}
kv uid "$(id -u)"
kv arch "$(uname -m)"
kv now "$(date +%s)"
kv os.id "$(osrelease ID)"
kv os.like "$(osrelease ID_LIKE)"
kv os.version "$(osrelease VERSION_ID)"
if [ -d /run/systemd/system ] && has systemctl; then
  kv systemd "$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
fi
if has udevadm && [ -e /run/udev/control ]; then echo udev=1; fi
tools=
for c in bash curl wget dpkg rpm; do if has $c; then tools="$tools $c"; fi; done
kv tools "${tools# }"
if has getenforce; then kv selinux "$(getenforce 2>/dev/null)"; fi
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then echo apparmor=1; fi
t=$BIN
if [ -z "$t" ]; then
  t=$(command -v tbot 2>/dev/null)
  for c in /usr/local/bin/tbot /opt/teleport/default/bin/tbot /opt/teleport/system/bin/tbot; do
    case $t in /*) break;; esac
    if [ -x "$c" ]; then t=$c; fi
  done
fi
if [ -n "$t" ] && [ -f "$t" ] && [ -x "$t" ]; then
  kv tbot.path "$t"
  if [ -L "$t" ]; then kv tbot.link "$(readlink -f "$t")"; fi
  if [ -n "$SUM" ]; then kv tbot.sha256 "$(sha256sum <"$t" | cut -d' ' -f1)"; fi
  if has timeout; then v=$(timeout 20 "$t" version 2>/dev/null); else v=$("$t" version 2>/dev/null); fi
  kv tbot.version "$(printf '%s' "$v" | head -n 1)"
fi
e=$(account passwd "$U")
if [ -n "$e" ]; then
  kv user.uid "$(printf '%s' "$e" | cut -d: -f3)"
  kv user.comment "$(printf '%s' "$e" | cut -d: -f5)"
  kv user.groups "$(id -nG "$U" 2>/dev/null)"
fi
if [ -n "$(account group "$G")" ]; then echo group=1; fi
if [ -n "$(account group "$A")" ]; then echo access.group=1; fi
for c in /etc/udev/rules.d/*.rules /run/udev/rules.d/*.rules /usr/lib/udev/rules.d/*.rules /lib/udev/rules.d/*.rules; do
  [ -f "$c" ] && [ "${c##*/}" != 60-fleetctl-tpm.rules ] || continue
  if grep -q "^[^#]*KERNEL==\"tpmrm.*GROUP=\"$A\"" "$c" 2>/dev/null; then kv rules "$c"; break; fi
done
for c in /sys/class/tpm/tpm*; do
  [ -e "$c" ] || continue
  if [ "$(cat "$c/tpm_version_major" 2>/dev/null)" = 1 ]; then o=1; else n=1; fi
done
if [ -n "$n" ]; then echo device.sysfs=1; elif [ -n "$o" ]; then echo device.tpm12=1; fi
DEV=$(device)
if [ -n "$DEV" ] && [ -e "$DEV" ]; then
  kv device.path "$DEV"
  if [ -c "$DEV" ]; then echo device.type=char; elif [ -S "$DEV" ]; then echo device.type=socket
  else echo device.type=other; fi
  kv device.stat "$(stat -L -c '%a %U %G' "$DEV")"
  if [ -n "$e" ] && [ -c "$DEV" ]; then kv device.opens "$(opens "$DEV")"; fi
fi
dir storage "$STORAGE"
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
  systemctl show tbot.service -p LoadState -p ActiveState -p SubState -p UnitFileState -p FragmentPath \
    -p NeedDaemonReload -p NRestarts -p Result -p ExecMainStatus 2>/dev/null |
  while IFS='=' read -r k v; do
    case $k in
      LoadState) kv service.load "$v";;
      ActiveState) kv service.active "$v";;
      SubState) kv service.sub "$v";;
      UnitFileState) kv service.enabled "$v";;
      NeedDaemonReload) kv service.reload "$v";;
      NRestarts) kv service.restarts "$v";;
      Result) kv service.result "$v";;
      ExecMainStatus) kv service.exit "$v";;
      FragmentPath)
        kv service.fragment "$v"
        if [ -n "$v" ] && [ "$v" != "$UNIT" ] && [ -f "$v" ]; then kv service.header "$(head -n 1 "$v")"; fi;;
    esac
  done
  if [ -n "$DIAGPORT" ]; then kv ready "$(http "$DIAGHOST" "$DIAGPORT" /readyz)"; fi
fi
dir 0 /opt/machine-id/app
file 0 /etc/tbot.yaml
file 1 /etc/systemd/system/tbot.service
file 2 /etc/systemd/system/tbot.service.d/10-fleetctl-hardening.conf
file 3 /etc/systemd/system/tbot.service.d/10-fleetctl-tpm.conf
file 4 /etc/systemd/system/tbot.service.d/20-fleetctl.conf
file 5 /etc/udev/rules.d/60-fleetctl-tpm.rules
echo end=1
