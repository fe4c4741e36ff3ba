DIAGHOST=127.0.0.1
DIAGPORT=''
TRUST=''
ASK=1
TELLS=1
SINCE=0
WATCH=3
LIMIT=90
PENDING=/run/fleetctl-tbot.pending
JOINED='Fetched new bot identity'
REFUSED='Failed to renew bot identity|Unable to renew bot identity on startup'
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
prop() { printf '%s\n' "$all" | sed -n "s/^$1=//p"; }
fresh() {
  if [ -n "$TELLS" ] && [ -n "$start" ]; then journalctl "_SYSTEMD_INVOCATION_ID=$start" -o cat --no-pager -n 500 2>/dev/null
  else log 500; fi
}
log() {
  if [ -n "$starts" ]; then journalctl $starts -o cat --no-pager -n "$1" 2>/dev/null
  else journalctl -u tbot.service --since "@$SINCE" -o cat --no-pager -n "$1" 2>/dev/null; fi
}
code() { http "$DIAGHOST" "$DIAGPORT" "$1" | head -n 1; }
joins() {
  [ -n "$DIAGPORT" ] || return 1
  ready=$(code /readyz)
  if [ "$ready" = 200 ] && [ -n "$TRUST" ]; then return 0; fi
  [ -n "$ASK" ] && [ -n "$ready" ] && [ "$ready" != 000 ] && [ "$(code /readyz/identity)" = 200 ]
}
end=$(( $(date +%s) + LIMIT )) since=$(date +%s) last= ends=0 state= by= ready= dead= start= starts=
while :; do
  all=$(systemctl show tbot.service -p ActiveState -p SubState -p MainPID -p InvocationID 2>/dev/null)
  a=$(prop ActiveState) pid=$(prop MainPID) start=$(prop InvocationID) now=$(date +%s)
  if [ -n "$TELLS" ] && [ -n "$start" ]; then
    case $starts in *"=$start "*) ;; *)
      starts="$starts${starts:++ }_SYSTEMD_INVOCATION_ID=$start + INVOCATION_ID=$start ";;
    esac
  fi
  if [ "$a" = active ] && [ "$(prop SubState)" = running ]; then
    if [ "$pid" != "$last" ]; then
      if [ -n "$last" ] && [ -z "$dead" ]; then ends=$((ends + 1)); fi
      last=$pid since=$now dead= by=
    fi
    if [ -z "$by" ] && joins; then by=readyz; fi
    if [ -z "$by" ] && fresh | grep -q "$JOINED"; then by=journal; fi
    if [ -n "$by" ] && [ $((now - since)) -ge "$WATCH" ]; then state=joined; break; fi
  else
    if [ -z "$dead" ]; then ends=$((ends + 1)) dead=1 by=; fi
    if [ "$a" = failed ] || [ "$a" = inactive ]; then state=failed; break; fi
  fi
  if [ "$ends" -ge 2 ]; then state=restarting; break; fi
  if [ "$now" -ge "$end" ]; then
    if [ "$a" != active ]; then state=restarting
    elif [ -n "$DIAGPORT" ] && [ -n "$TRUST" ]; then state=not-joined
    elif fresh | grep -q -E "$REFUSED"; then state=not-joined
    else state=active; fi
    break
  fi
  sleep 1
done
if [ "$state" = joined ]; then rm -f "$PENDING"; fi
kv state "$state"
kv by "$by"
if [ "$state" != joined ]; then
  n=0
  log 200 | while IFS= read -r l; do n=$((n + 1)); kv "log.$n" "$l"; done
fi
echo end=1
