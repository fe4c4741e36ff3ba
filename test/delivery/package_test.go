package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// within bounds what a test waits for; it is no promise about speed.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// desk is the host that the package is installed on.
type desk struct {
	*lab.Host
	t   *testing.T
	ctx context.Context
}

// TestThePackageIsInstalledRunAndRemoved has a machine with nothing but Debian install the package, scan a host with it, and remove
// it without a trace.
func TestThePackageIsInstalledRunAndRemoved(t *testing.T) {
	file := built(t, "../../bin/dist/*_linux_amd64.deb")
	ctx := within(t)
	l := lab.Up(t, lab.Spec{Name: "desk-01", TPM: lab.NoTPM, NoTbot: true}, lab.Spec{Name: "web-01"})
	d := desk{l.Host("desk-01"), t, ctx}
	d.put(read(t, file), "/root/fleetctl.deb")
	before, err := d.Snapshot()
	if err != nil {
		t.Fatal(err)
	}

	d.run("dpkg", "--install", "/root/fleetctl.deb")
	if said := d.run("fleetctl", "--version"); !strings.Contains(said, "-snapshot") {
		t.Errorf("fleetctl --version says %q", said)
	}
	for name := range strings.FieldsSeq(d.run("dpkg-query", "--listfiles", "fleetctl")) {
		if info, err := os.Lstat(filepath.Join(d.Root, name)); err != nil || info.Mode()&0o022 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for _, name := range []string{
		"/usr/share/man/man1/fleetctl.1.gz", "/usr/share/bash-completion/completions/fleetctl",
		"/usr/share/zsh/vendor-completions/_fleetctl", "/usr/share/fish/vendor_completions.d/fleetctl.fish",
	} {
		if len(read(t, filepath.Join(d.Root, name))) == 0 {
			t.Errorf("%s is empty", name)
		}
	}
	d.scans(l, l.Host("web-01"))

	d.run("dpkg", "--purge", "fleetctl")
	d.run("rm", "-r", "/root/fleet")
	after, err := d.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if left := slices.DeleteFunc(before.Diff(after), func(line string) bool { return expected(l, line) }); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// expected says whether a difference of the disk is dpkg's own bookkeeping, or a directory that is again as Debian has it.
func expected(l *lab.Lab, line string) bool {
	words := strings.SplitN(line, " ", 3) // "+ PATH WHAT"
	was, err := l.InBase(words[1])
	return strings.HasPrefix(words[1], "/var/lib/dpkg/") || err == nil && len(words) == 3 && was == words[2]
}

// scans has the installed fleetctl scan a host, with the helper that is embedded in it, and without, as one does that "go install" built.
func (d desk) scans(l *lab.Lab, h *lab.Host) {
	d.t.Helper()
	d.run("mkdir", "-m", "0700", "/root/fleet")
	d.put(read(d.t, l.Key), "/root/fleet/key")
	d.put(read(d.t, filepath.Join(l.Dir, "known_hosts")), "/root/fleet/known_hosts")
	d.put(fmt.Appendf(nil, `all:
  hosts:
    %s:
      ansible_host: %s
      ansible_user: %s
      ansible_ssh_private_key_file: /root/fleet/key
      ansible_ssh_common_args: -F none -o UserKnownHostsFile=/root/fleet/known_hosts
`, h.Name, h.IP, h.User), "/root/fleet/inventory.yaml")
	for _, with := range []string{"helper", "shell"} {
		out := d.run("sh", "-c", "cd /root/fleet && fleetctl scan --no-progress -o json --identify-with "+with+" inventory.yaml")
		if !json.Valid([]byte(out)) || !regexp.MustCompile(`"proven": *true`).MatchString(out) {
			d.t.Errorf("the scan with the %s says %s", with, out)
		}
	}
}

// run runs a command on the desk, which must do well.
func (d desk) run(args ...string) string {
	d.t.Helper()
	out, err := d.Exec(d.ctx, args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// put writes a file of root's on the desk.
func (d desk) put(content []byte, name string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.Root, name), content, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// built is the one file of that pattern that "make snapshot" made. Where there is none the test is skipped, and fails in CI.
func built(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 1 {
		return files[0]
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("run make snapshot: there are %q", files)
	}
	t.Skipf("run make snapshot: there are %q", files)
	return ""
}
