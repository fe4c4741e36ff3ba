#!/bin/sh
# image.sh DIR SUITE: makes what a virtual machine starts from: DIR/vmlinuz, DIR/initrd.gz and DIR/root.tar.zst, its file
# system. All packages come from the machine's own apt source. The script's text is part of the cache's key.
set -eu
dir=$1 suite=$2
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
cd "$dir"
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
  awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }')
[ -n "$mirror" ] || { echo "apt has no source for $suite main" >&2; exit 1; }

# A plain Debian with real udev. Network and host keys come from outside, so that nothing waits for them.
root=$dir/root
debootstrap --variant=minbase \
  --include=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,ca-certificates,procps,udev \
  "$suite" "$root" "$mirror" >debootstrap.log 2>&1 || { tail -20 debootstrap.log >&2; exit 1; }
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  e2scrub_reap.service getty@.service serial-getty@.service getty.target systemd-networkd.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf" "$root/etc/machine-id"
sed -i 's/^session.*pam_systemd/#&/' "$root/etc/pam.d/common-session"
echo vm >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 vm\n' >"$root/etc/hosts"
printf '/dev/vda / ext4 rw 0 0\n' >"$root/etc/fstab"
printf '%032x\n' 28000 >"$root/etc/machine-id"
chroot "$root" useradd --create-home --uid 1000 --shell /bin/bash ops
echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/ops"
chmod 0440 "$root/etc/sudoers.d/ops"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/man/* \
  "$root"/usr/share/locale/* "$root"/usr/share/info/* "$root"/var/log/* "$root"/etc/apt/sources.list \
  "$root"/etc/apt/apt.conf.d/*proxy* "$root"/debootstrap
tar --zstd --numeric-owner --xattrs -cf root.tar.zst -C "$root" .

# The kernel for clouds has the TPM's drivers (TIS and CRB) built in, and what a virtual disk and network need as
# modules. It and the shell for the initramfs are unpacked here, not installed on this machine.
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
apt-get download -qq "$kernel" busybox-static 2>apt.log || { cat apt.log >&2; exit 1; }
for package in ./*.deb; do dpkg -x "$package" unpacked; done
version=$(ls unpacked/lib/modules)
mv "unpacked/boot/vmlinuz-$version" vmlinuz
depmod -b unpacked "$version"

# The initramfs: the modules in the order in which they need each other, then over to the disk. The address is the one
# that QEMU's user network expects; without a default route the machine reaches the one that runs it and nothing else.
mkdir -p initramfs/bin initramfs/dev initramfs/proc initramfs/sys initramfs/mnt initramfs/modules
mv unpacked/bin/busybox initramfs/bin/ 2>/dev/null || mv unpacked/usr/bin/busybox initramfs/bin/
modprobe -d "$dir/unpacked" -S "$version" -a --show-depends virtio_pci virtio_blk virtio_net |
  awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
  name=$(basename "$module" .xz)
  case $module in *.xz) xz -dc "$module" ;; *) cat "$module" ;; esac >"initramfs/modules/$name"
  echo "$name" >>initramfs/order
done
cat >initramfs/init <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
while read -r m; do $b insmod "/modules/$m"; done </order
i=0; until [ -b /dev/vda ] || [ $i -ge 100 ]; do $b sleep 0.1; i=$((i + 1)); done
$b ip link set eth0 up; $b ip addr add 10.0.2.15/24 dev eth0
$b mount -t ext4 -o rw /dev/vda /mnt || exec $b sh
for d in dev proc sys; do $b mount --move /$d /mnt/$d; done
exec $b switch_root /mnt /sbin/init
INIT
chmod +x initramfs/init
(cd initramfs && find . | cpio --quiet -o -H newc | gzip -1) >initrd.gz
rm -rf root unpacked initramfs ./*.deb ./*.log
