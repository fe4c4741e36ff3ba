DIAGHOST=127.0.0.1
DIAGPORT=''
TRUST=''
ASK=1
TELLS=1
SINCE=0
YOUNG=1
WATCH=3
LIMIT=90
PENDING=/run/fleetctl-tbot.pending
JOINED='Fetched new bot identity'
REFUSED='Failed to renew bot identity|Unable to renew bot identity on startup'
#prelude
prop() { printf '%s\n' "$all" | sed -n "s/^$1=//p"; }
fresh() {
  if [ -n "$TELLS" ] && [ -n "$start" ]; then set -- "_SYSTEMD_INVOCATION_ID=$start"
  else set -- _SYSTEMD_UNIT=tbot.service "_PID=$pid" -b; fi
  journalctl "$@" --since "@$YOUNG" -o cat --no-pager -n 500 2>/dev/null
}
latest() { fresh | grep -E "$JOINED|$REFUSED" | tail -n 1 | grep -q "$JOINED"; }
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
    if [ -z "$by" ] && latest; then by=journal; fi
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
  p=$(log 200 | sed -n 's/.*:\([0-9][0-9]*\): bind: address already in use.*/\1/p' | tail -n 1)
  if [ -n "$p" ]; then kv holder "$(holder "$p")"; fi
  n=0
  log 200 | while IFS= read -r l; do n=$((n + 1)); kv "log.$n" "$l"; done
fi
echo end=1
