// Package sh has the pieces of shell that scripts of several rooms share: POSIX sh and a core set of tools (coreutils or
// busybox), functions that print. It knows neither hosts nor what their answers mean.
package sh

// TPMDevice is the function tpm_find, which sets tpm to the device that tbot would take, as go-attestation chooses it: the
// first TPM 2.0 that sysfs knows, by its resource manager where there is one. tpm_by is "sysfs" then. Where sysfs knows no
// TPM, as in containers, it is what lies in /dev, and tpm_by is "dev". Where sysfs knows a 1.2 alone, whose driver has a
// file "caps", there is none, and tpm_old is its name. package device does the same in Go: device.Finder.
const TPMDevice = `tpm_find() {
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
`

// FindTbot is the function find_tbot, which prints the absolute path of the tbot that is installed: the one in PATH, else
// where Teleport's packages put it.
const FindTbot = `find_tbot() {
  for c in "$(command -v tbot 2>/dev/null)" /usr/local/bin/tbot /opt/teleport/default/bin/tbot /opt/teleport/system/bin/tbot; do
    case $c in /*) if [ -x "$c" ]; then echo "$c"; return; fi;; esac
  done
}
`
