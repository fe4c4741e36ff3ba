// Package sh has the pieces of shell that scripts of several rooms share: POSIX sh and a core set of tools (coreutils or
// busybox), functions that print. It knows neither hosts nor what their answers mean.
package sh

// TPMDevice is the function tpm_device, which prints the device that tbot would take, as go-attestation chooses it: the
// first TPM 2.0 that sysfs knows, by its resource manager where there is one. Where sysfs knows no TPM, as in containers, it
// is what lies in /dev; where it knows a 1.2 alone, there is none.
const TPMDevice = `tpm_device() {
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
`

// FindTbot is the function find_tbot, which prints the absolute path of the tbot that is installed: the one in PATH, else
// where Teleport's packages put it.
const FindTbot = `find_tbot() {
  for c in "$(command -v tbot 2>/dev/null)" /usr/local/bin/tbot /opt/teleport/default/bin/tbot /opt/teleport/system/bin/tbot; do
    case $c in /*) if [ -x "$c" ]; then echo "$c"; return; fi;; esac
  done
}
`
