//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed shims tbot.sh
var shims embed.FS

// The stand-ins for programs that a simulated host can't have: those of every host, and those that only hosts without
// namespaces need besides.
const (
	hostShims  = "shims"
	plainShims = "shims/plain"
)

func shimNames(set string) []string {
	entries, _ := fs.ReadDir(shims, set) // it is in the binary
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func writeShims(set, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range shimNames(set) {
		text, err := shims.ReadFile(set + "/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func tpmState(host string) string  { return filepath.Join(host, "tpm") }
func tpmSocket(host string) string { return filepath.Join(host, "run/tpm.sock") }

// makeHost makes the directories and files that a host starts with: those of a freshly installed system.
func (f *fleet) makeHost(h host) error {
	root := h.Name
	for _, dir := range append([]string{
		"tpm", "etc/systemd/system", "run/systemd/system", "usr/local/bin", "usr/local/sbin", "var/lib", "var/log", "var/tmp",
	}, ownDirs...) {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]os.FileMode{
		"tmp": 0o777 | os.ModeSticky, "var/tmp": 0o777 | os.ModeSticky, "root": 0o700, "tpm": 0o700,
	} {
		if err := os.Chmod(filepath.Join(root, dir), mode); err != nil {
			return err
		}
	}
	for name, text := range etcFiles(h) {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(root, "etc/os-release")); err != nil {
		return err
	}
	for _, name := range machineFiles {
		if err := os.Symlink("/.machine/"+name, filepath.Join(root, "etc", name)); err != nil {
			return err
		}
	}
	if h.Condition != noTbot {
		text, err := shims.ReadFile("tbot.sh")
		if err == nil {
			err = os.WriteFile(filepath.Join(root, "usr/local/bin/tbot"), text, 0o755)
		}
		if err != nil {
			return err
		}
	}
	if !f.Isolate {
		return nil
	}
	for _, name := range shimNames(hostShims) { // for those that this machine has no program of
		if err := os.Symlink("/.shims/"+name, filepath.Join(root, "usr/local/bin", name)); err != nil {
			return err
		}
	}
	return nil
}

// etcFiles are the files of a host's /etc. The TPM's group is there on every second host, as it is in real fleets: it
// comes with a package that not everybody installs.
func etcFiles(h host) map[string]string {
	id := sha256.Sum256(h.Key.Public().(ed25519.PublicKey))
	files := map[string]string{
		"hostname":      h.Name + "\n",
		"hosts":         "127.0.0.1 localhost\n127.0.1.1 " + h.Name + "\n",
		"machine-id":    hex.EncodeToString(id[:16]) + "\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
		"passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"shadow": "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
		"group":  "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n",
		"shells": "/bin/sh\n/bin/bash\n",
	}
	if h.Addr.As4()[3]%2 == 0 {
		files["passwd"] += "tss:x:104:111:TPM software stack:/var/lib/tpm:/bin/false\n"
		files["shadow"] += "tss:!:19000::::::\n"
		files["group"] += "tss:x:111:\n"
	}
	return files
}
