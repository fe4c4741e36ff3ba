#!/bin/sh
# base.sh ROOT SUITE MIRROR: makes the file system that all hosts of the lab share. Its text is part of the cache's key.
set -eu
root=$1 suite=$2 mirror=$3
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
debootstrap --variant=minbase \
  --include=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,ca-certificates,procps,udev \
  "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
rm -f "$root.log"

# No timers and terminals that would wake the hosts up, and nothing that a host must have for itself.
ln -sf /dev/null "$root/etc/systemd/system/console-getty.service"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  e2scrub_reap.service getty@.service getty.target systemd-networkd.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf" "$root/etc/machine-id"
sed -i 's/^session.*pam_systemd/#&/' "$root/etc/pam.d/common-session"

# Who may log in: ops becomes root without a password, careful needs one. Keys come with each lab.
chroot "$root" useradd --create-home --uid 1000 --shell /bin/bash ops
chroot "$root" useradd --create-home --uid 1001 --shell /bin/sh careful
echo 'careful:open sesame' | chroot "$root" chpasswd
printf '%s\n' 'Defaults lecture=never' 'ops ALL=(ALL:ALL) NOPASSWD: ALL' 'careful ALL=(ALL:ALL) ALL' >"$root/etc/sudoers.d/lab"
chmod 0440 "$root/etc/sudoers.d/lab"

# systemd-udevd does not run in a container. A stand-in applies MODE, OWNER and GROUP of the rules to the TPM's device:
# at boot, and when udevadm is asked to trigger.
mv "$root/usr/bin/udevadm" "$root/usr/bin/udevadm.real"
cat >"$root/usr/bin/udevadm" <<'SHIM'
#!/bin/sh
# The lab's stand-in for udev, see docs/lab.md.
case "$1" in
  trigger) ;;
  control|settle) exit 0 ;;
  *) exec /usr/bin/udevadm.real "$@" ;;
esac
value() { # value KEY LINE: what KEY= or KEY:= sets in LINE
  printf '%s\n' "$2" | sed -n "s/.*[, \t]$1:\{0,1\}=\"\([^\"]*\)\".*/\1/p"
}
for device in /dev/tpmrm0 /dev/tpm0; do
  [ -e "$device" ] || continue
  for file in $(cd / && ls /etc/udev/rules.d/*.rules /run/udev/rules.d/*.rules /usr/lib/udev/rules.d/*.rules 2>/dev/null |
    awk -F/ '!seen[$NF]++ { print $NF, $0 }' | sort | cut -d' ' -f2); do
    grep 'KERNEL=="tpm' "$file" | while read -r line; do
      kernel=$(printf '%s\n' "$line" | sed -n 's/.*KERNEL=="\([^"]*\)".*/\1/p')
      case "${device#/dev/}" in $kernel) ;; *) continue ;; esac
      mode=$(value MODE "$line") owner=$(value OWNER "$line") group=$(value GROUP "$line")
      [ -z "$mode" ] || chmod "$mode" "$device"
      [ -z "$owner" ] || chown "$owner" "$device"
      [ -z "$group" ] || chgrp "$group" "$device"
    done
  done
done
SHIM
chmod 0755 "$root/usr/bin/udevadm"
cat >"$root/etc/systemd/system/lab-udev.service" <<'UNIT'
[Unit]
Description=The lab's stand-in for udev at boot
DefaultDependencies=no
After=systemd-sysusers.service
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir -p /run/udev && : >/run/udev/control && exec /usr/bin/udevadm trigger'
[Install]
WantedBy=sysinit.target
UNIT
mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
ln -s ../lab-udev.service "$root/etc/systemd/system/sysinit.target.wants/lab-udev.service"

rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/man/* \
  "$root"/usr/share/locale/* "$root"/usr/share/info/* "$root"/var/log/* "$root"/etc/apt/sources.list \
  "$root"/etc/apt/apt.conf.d/*proxy* "$root"/debootstrap
