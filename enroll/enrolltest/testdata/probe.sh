printf 'os=%s\n' "$(uname -s 2>/dev/null)"
printf 'arch=%s\n' "$(uname -m 2>/dev/null)"
printf 'uid=%s\n' "$(id -u 2>/dev/null)"
for d in /dev/tpmrm[0-9]* /dev/tpm[0-9]*; do
  if [ -e "$d" ]; then echo device=1; [ -r "$d" ] && [ -w "$d" ] && echo access=1; break; fi
done
exit 0
