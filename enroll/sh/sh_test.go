package sh_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/sh"
)

// run runs a piece in a shell, with /sys, /dev and /opt moved into dir.
func run(t *testing.T, shell []string, dir, piece, call string) string {
	t.Helper()
	for _, root := range []string{"/sys/", "/dev/tpm", "/opt/", "/usr/local/"} {
		piece = strings.ReplaceAll(piece, root, dir+root)
	}
	cmd := exec.Command(shell[0], append(shell[1:], "-c", piece+call)...)
	cmd.Env = []string{"PATH=" + dir + "/bin:/usr/bin:/bin"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), dir)
}

// found says what tpm_find finds.
const found = `tpm_find; echo $tpm $tpm_by $tpm_old`

func TestPieces(t *testing.T) {
	for _, c := range []struct {
		name, piece, call string
		files             map[string]string
		want              string
	}{
		{"a resource manager", sh.TPMDevice, found, map[string]string{"/sys/class/tpm/tpm0/device/tpmrm/tpmrm0/dev": "", "/dev/tpmrm0": "", "/dev/tpm0": ""}, "/dev/tpmrm0 sysfs"},
		{"the first that is a 2.0, whatever the kernel calls its version", sh.TPMDevice, found, map[string]string{
			"/sys/class/tpm/tpm0/caps": "", "/sys/class/tpm/tpm0/tpm_version_major": "2", "/sys/class/tpm/tpm1/device/tpmrm/tpmrm1/dev": "",
			"/dev/tpm0": "", "/dev/tpm1": ""}, "/dev/tpmrm1 sysfs tpm0"},
		{"a kernel without resource managers", sh.TPMDevice, found, map[string]string{"/sys/class/tpm/tpm0/x": "", "/dev/tpm0": ""}, "/dev/tpm0 sysfs"},
		{"the resource manager of another number", sh.TPMDevice, found, map[string]string{"/sys/class/tpm/tpm0/device/tpmrm/tpmrm3/dev": ""}, "/dev/tpmrm3 sysfs"},
		{"a TPM 1.2 is none", sh.TPMDevice, found, map[string]string{"/sys/class/tpm/tpm0/caps": "", "/dev/tpm0": ""}, "tpm0"},
		{"a container without sysfs", sh.TPMDevice, found, map[string]string{"/dev/tpmrm0": "", "/dev/tpm0": ""}, "/dev/tpmrm0 dev"},
		{"a container with another number, which tbot would not find", sh.TPMDevice, found, map[string]string{"/dev/tpmrm3": ""}, ""},
		{"no TPM", sh.TPMDevice, found, nil, ""},
		{"a tbot in PATH", sh.FindTbot, "find_tbot", map[string]string{"/bin/tbot": "", "/usr/local/bin/tbot": ""}, "/bin/tbot"},
		{"a tbot of a package", sh.FindTbot, "find_tbot", map[string]string{"/opt/teleport/system/bin/tbot": ""}, "/opt/teleport/system/bin/tbot"},
		{"no tbot", sh.FindTbot, "find_tbot", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "ash"}} {
				if _, err := exec.LookPath(shell[0]); err != nil {
					continue
				}
				dir := t.TempDir()
				for name, content := range c.files {
					if err := os.MkdirAll(filepath.Dir(dir+name), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(dir+name, []byte(content), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				if got := run(t, shell, dir, c.piece, c.call); got != c.want {
					t.Errorf("%s: got %q, want %q", shell[0], got, c.want)
				}
			}
		})
	}
}
