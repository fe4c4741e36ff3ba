d=''
tpm_find() {
  tpm= tpm_by= tpm_old=
  for tpm_c in /sys/class/tpm/tpm*; do
    [ -e "$tpm_c" ] || continue
    if [ -e "$tpm_c/caps" ]; then tpm_old=${tpm_old:-${tpm_c##*/}}; continue; fi
    tpm=/dev/${tpm_c##*/} tpm_by=sysfs
    for tpm_c in "$tpm_c"/device/tpmrm/*; do
      if [ -e "$tpm_c" ]; then tpm=/dev/${tpm_c##*/}; fi
      return 0
    done
  done
  if [ -n "$tpm_old" ]; then return 0; fi
  for tpm_c in /dev/tpmrm0 /dev/tpm0; do
    if [ -e "$tpm_c" ]; then tpm=$tpm_c tpm_by=dev; return 0; fi
  done
}
LC_ALL=C; export LC_ALL
printf 'os=%s\n' "$(uname -s 2>/dev/null)"
printf 'arch=%s\n' "$(uname -m 2>/dev/null)"
printf 'uid=%s\n' "$(id -u 2>/dev/null)"
if [ -z "$d" ]; then tpm_find; d=$tpm; fi
if [ -e "$d" ]; then echo device=1; [ -r "$d" ] && [ -w "$d" ] && echo access=1; fi
exit 0
