# Gives stdin and stdout to a TPM. $fleetctl_device: a character device, or empty for the one that tbot would take.
# In: a line "LENGTH MARK" and LENGTH bytes of a TPM command. Out: the TPM's response. MARK +: the response carries a new
# handle; MARK -: the newest handle is flushed. Handles that are left at the end of stdin are flushed here.
LC_ALL=C; export LC_ALL
say() { printf 'fleetctl-tpm 1 %s\n' "$*"; }
d=$fleetctl_device f=option tpm_old=
if [ -z "$d" ]; then tpm_find; d=$tpm f=$tpm_by; fi
if [ -z "$d" ]; then
  if [ -n "$tpm_old" ]; then say old "$tpm_old"; else say none 'the kernel shows none; is it enabled in the firmware?'; fi
  exit 0
fi
if [ -S "$d" ]; then say socket "$d"; exit 0; fi
if [ ! -c "$d" ]; then say none "$d is not a character device"; exit 0; fi
if [ ! -r "$d" ] || [ ! -w "$d" ]; then say permission "$d"; exit 0; fi
i=0
until e=$( (exec 3<>"$d") 2>&1); do
  case $e in *[Bb]usy*) ;; *) say error "$e"; exit 0 ;; esac
  i=$((i + 1))
  if [ "$i" -gt 20 ]; then say busy "$d"; exit 0; fi
  sleep 1
done
exec 3<>"$d"

# One response as octal numbers. A TPM's driver hands it over whole; a terminal may not.
answer() { dd bs=4096 count=1 <&3 2>/dev/null | od -An -v -to1; }
pass() { dd ibs=1 obs="$1" count="$1" 2>/dev/null >&3; }

handles=
flush() {
  for h in $handles; do
    printf '%b' "\\0200\\0001\\0000\\0000\\0000\\0016\\0000\\0000\\0001\\0145$h" | dd bs=14 count=1 2>/dev/null >&3
    answer >/dev/null
  done
  handles=
}
trap '' PIPE
trap 'exit 1' HUP INT TERM
trap flush EXIT

say "$f" "$d"
if ! type od >/dev/null 2>&1; then
  while read -r n mark; do
    pass "$n"
    dd bs=4096 count=1 <&3 2>/dev/null
  done
  exit 0
fi
while read -r n mark; do
  pass "$n"
  set -- $(answer)
  while [ $# -ge 6 ] && [ $# -lt $((0$3 * 16777216 + 0$4 * 65536 + 0$5 * 256 + 0$6)) ]; do
    more=$(answer)
    [ -n "$more" ] || break
    set -- "$@" $more
  done
  [ $# -ge 10 ] || set -- 000 000 000 000 000 012 000 000 000 000
  if [ "$mark" = - ]; then
    handles=${handles% *}
  elif [ "$mark" = + ] && [ $# -ge 14 ] && [ "$7${8}$9${10}" = 000000000000 ]; then
    handles="$handles \\0${11}\\0${12}\\0${13}\\0${14}"
  fi
  printf '%b' "$(printf '\\0%s' "$@")"
done
