package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// diskSize is the size of the machine's disk; the file is as large as what is in it.
const diskSize = "1500M"

// makeDisk makes the machine's disk of the image: with keys of its own and the programs that Config names.
func (m *Machine) makeDisk(img image) error {
	root := filepath.Join(m.Dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if err := command("tar", "--zstd", "--numeric-owner", "--xattrs", "-xf", img.root, "-C", root); err != nil {
		return err
	}
	if err := errors.Join(m.writeKeys(root), m.copyPrograms(root)); err != nil {
		return err
	}
	if err := command("truncate", "-s", diskSize, m.disk()); err != nil {
		return err
	}
	return command("mkfs.ext4", "-q", "-F", "-d", root, m.disk())
}

func (m *Machine) disk() string { return filepath.Join(m.Dir, "disk.img") }

// writeKeys gives the machine a host key, and lets the owner of Machine.Key log in as ops and as root.
func (m *Machine) writeKeys(root string) error {
	host := filepath.Join(root, "etc/ssh/ssh_host_ed25519_key")
	for path, comment := range map[string]string{m.Key: "vm-test", host: "vm"} {
		if err := command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path); err != nil {
			return err
		}
	}
	public, err := os.ReadFile(host + ".pub")
	if err != nil {
		return err
	}
	m.HostKey = strings.Join(strings.Fields(string(public))[:2], " ")
	for home, uid := range map[string]int{"home/ops": 1000, "root": 0} { // as in image.sh
		dir := filepath.Join(root, home, ".ssh")
		keys := filepath.Join(dir, "authorized_keys")
		err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700), os.Chown(dir, uid, uid),
			command("install", "-m", "0600", "-o", strconv.Itoa(uid), "-g", strconv.Itoa(uid), m.Key+".pub", keys))
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) copyPrograms(root string) error {
	for name, from := range m.config.Programs {
		if err := command("install", "-m", "0755", from, filepath.Join(root, "usr/local/bin", name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
