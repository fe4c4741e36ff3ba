package enrolltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fleetctl/remote"
)

// Chroot is a host without a network: a copy-on-write view of this machine's root in a mount namespace of its own,
// without systemd, with a TPM device that only root may open. Scripts run there in the shell that it was made with.
type Chroot struct {
	t     *testing.T
	pid   int // of the process that holds the namespace
	dir   string
	shell []string
	Runs  int
	First string                    // runs before every script of a connection
	Fail  func(script string) error // faults; may be nil
}

const chrootSetup = `set -e
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir -p upper work root hidden/etc
# Other tests make accounts on this machine: whiteouts keep the locks of that from showing through.
for f in passwd group shadow gshadow subuid subgid; do mknod hidden/etc/$f.lock c 0 0; done
mount -t overlay overlay -o lowerdir=hidden:/,upperdir=upper,workdir=work root
mount -t tmpfs -o mode=0755 tmpfs root/dev
mount -t tmpfs -o mode=0755 tmpfs root/run
mount -t tmpfs tmpfs root/tmp
for n in null zero urandom; do : >root/dev/$n; mount --bind /dev/$n root/dev/$n; done
mknod root/dev/tpmrm0 c 1 3
chmod 0660 root/dev/tpmrm0
rm -f root/etc/udev/rules.d/* root/lib/udev/rules.d/*tpm*.rules root/usr/local/bin/tbot root/etc/tbot.yaml
sed -i '/^tss:/d;/^teleport:/d' root/etc/passwd root/etc/group root/etc/shadow root/etc/gshadow
printf '#!/bin/sh\necho "Teleport v17.2.1 git:v17.2.1-0-g1 go1.23.4"\n' >root/usr/local/bin/tbot
chmod 0755 root/usr/local/bin/tbot
mkdir -m 0700 root/home/login
echo ready
read -r _ || :
`

// NewChroot skips the test where this machine can't make one, and fails it there in CI.
func NewChroot(t *testing.T, shell ...string) *Chroot {
	t.Helper()
	if os.Getuid() != 0 {
		SkipOrFail(t, "needs root")
	}
	if len(shell) == 0 {
		shell = []string{"sh"}
	}
	dir := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", chrootSetup, "sh", dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		SkipOrFail(t, "unshare: "+err.Error())
	}
	t.Cleanup(func() {
		stdin.Close()  // ends the process, and with it the namespace
		_ = cmd.Wait() // whatever it says, it is gone
	})
	if line := make([]byte, 6); !readFull(stdout, line) || string(line) != "ready\n" {
		SkipOrFail(t, "no mount namespace with an overlay: "+stderr.String())
	}
	return &Chroot{t: t, pid: cmd.Process.Pid, dir: filepath.Join(dir, "root"), shell: shell}
}

func readFull(r interface{ Read([]byte) (int, error) }, b []byte) bool {
	for n := 0; n < len(b); {
		m, err := r.Read(b[n:])
		if n += m; err != nil {
			return n == len(b)
		}
	}
	return true
}

// SkipOrFail is for a peer that is not there: a reason to skip a test on a desk, and an error in CI.
func SkipOrFail(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func (c *Chroot) enter(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(c.pid), "-m", "--", "chroot", c.dir}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
	return cmd
}

// Run runs a script as root.
func (c *Chroot) Run(_ context.Context, cmd remote.Cmd) (remote.Output, error) {
	c.Runs++
	if !cmd.Become {
		return remote.Output{}, errors.New("chroot: only root lives here")
	}
	if c.Fail != nil {
		if err := c.Fail(cmd.Script); err != nil {
			return remote.Output{}, err
		}
	}
	var stdout, stderr bytes.Buffer
	// A script that sudo starts is where nobody but the login user may be.
	login := []string{"sh", "-c", `cd /home/login && exec "$@"`, "sh"}
	p := c.enter(slices.Concat(login, c.shell, []string{"-c", c.First + cmd.Script})...)
	p.Stdin, p.Stdout, p.Stderr = cmd.Stdin, &stdout, &stderr
	err := p.Run()
	if ee := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ee) {
		return remote.Output{}, err
	}
	return remote.Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: p.ProcessState.ExitCode()}, nil
}

// WriteFile writes a file in the way of remote.Conn: all or nothing.
func (c *Chroot) WriteFile(_ context.Context, f remote.File, become bool) error {
	c.Runs++
	if !become {
		return errors.New("chroot: only root lives here")
	}
	if c.Fail != nil {
		if err := c.Fail("write " + f.Path); err != nil {
			return err
		}
	}
	q := remote.Quote
	script := fmt.Sprintf("umask 077; cat >%[1]s.tmp && chmod %[2]o %[1]s.tmp && chown %[3]s:%[4]s %[1]s.tmp && mv %[1]s.tmp %[1]s",
		q(f.Path), f.Mode, q(f.Owner), q(f.Group))
	p := c.enter("sh", "-c", script)
	p.Stdin = bytes.NewReader(f.Content)
	if out, err := p.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Close leaves the host as it is.
func (c *Chroot) Close() error { return nil }

// Outer runs a script in the namespace, but in the machine's own root: its directory is the host's root.
func (c *Chroot) Outer(script string) string {
	c.t.Helper()
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(c.pid), "-m", "--", "sh", "-c", "cd "+c.dir+"\n"+script).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Sh runs a script that has to succeed and returns what it printed, trimmed.
func (c *Chroot) Sh(script string) string {
	c.t.Helper()
	out, err := c.enter("sh", "-c", script).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}
