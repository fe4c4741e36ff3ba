DIAGHOST=127.0.0.1
DIAGPORT=''
TRUST=1
SINCE=0
WATCH=3
LIMIT=90
PENDING=/run/fleetctl-tbot.pending
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
prop() { printf '%s\n' "$all" | sed -n "s/^$1=//p"; }
log() { journalctl -u tbot.service --since "@$SINCE" -o cat --no-pager -n "$1" 2>/dev/null; }
end=$(( $(date +%s) + LIMIT )) since=$(date +%s) last= ends=0 state= by= ready= dead=
while :; do
  all=$(systemctl show tbot.service -p ActiveState -p SubState -p MainPID 2>/dev/null)
  a=$(prop ActiveState) pid=$(prop MainPID) now=$(date +%s)
  if [ "$a" = active ] && [ "$(prop SubState)" = running ]; then
    if [ "$pid" != "$last" ]; then
      if [ -n "$last" ] && [ -z "$dead" ]; then ends=$((ends + 1)); fi
      last=$pid since=$now dead=
    fi
    if [ -n "$DIAGPORT" ]; then
      ready=$(http "$DIAGHOST" "$DIAGPORT" /readyz)
      if [ "$ready" = 200 ] && [ -n "$TRUST" ]; then by=readyz; fi
    fi
    if [ -z "$by" ] && log 500 | grep -q 'Fetched new bot identity'; then by=journal; fi
    if [ -n "$by" ] && [ $((now - since)) -ge "$WATCH" ]; then state=joined; break; fi
  else
    if [ -z "$dead" ]; then ends=$((ends + 1)) dead=1 by=; fi
    if [ "$a" = failed ] || [ "$a" = inactive ]; then state=failed; break; fi
  fi
  if [ "$ends" -ge 2 ]; then state=restarting; break; fi
  if [ "$now" -ge "$end" ]; then
    if [ "$a" != active ]; then state=restarting
    elif [ -n "$DIAGPORT" ] && [ -n "$TRUST" ]; then state=not-joined
    else state=active; fi
    break
  fi
  sleep 1
done
if [ "$state" = joined ]; then rm -f "$PENDING"; fi
kv state "$state"
kv by "$by"
kv ready "$ready"
kv restarts "$ends"
if [ "$state" != joined ]; then
  n=0
  log 20 | while IFS= read -r l; do n=$((n + 1)); kv "log.$n" "$l"; done
fi
echo end=1
