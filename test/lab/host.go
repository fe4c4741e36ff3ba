package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fleetctl/test/swtpm"
)

// Host is one host of the lab.
type Host struct {
	Spec Spec
	Name string
	IP   string
	User string // whom to log in as, with Lab.Key
	Root string // its file system, as seen from outside
	TPM  *swtpm.TPM

	dir     string // tmpfs of its own: overlay, console
	index   int
	cgroup  string
	device  *device
	tpmDir  string
	hostKey string // public key, as in known_hosts

	mu     sync.Mutex
	nspawn *exec.Cmd
	exited chan struct{} // closed when the present nspawn is gone for good
	off    bool          // do not start it again after a reboot
}

// diskSize is the space that a host has for what it writes.
const diskSize = "256m"

// prepare makes the host's file system and network.
func (h *Host) prepare(l *Lab) error {
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", h.dir, "tmpfs", 0, "mode=0755,size="+diskSize); err != nil {
		return err
	}
	upper, work := filepath.Join(h.dir, "upper"), filepath.Join(h.dir, "work")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755), os.Mkdir(h.Root, 0o755)); err != nil {
		return err
	}
	lower := l.layer + ":" + l.base
	if !h.Spec.NoTbot {
		tbot, err := l.tbotLayer(h.Spec.Tbot)
		if err != nil {
			return err
		}
		lower = tbot + ":" + lower
	}
	err := unix.Mount("overlay", h.Root, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work)
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	if err := h.writeIdentity(); err != nil {
		return err
	}
	if h.Spec.NoUdev {
		if err := os.Remove(filepath.Join(h.Root, "etc/systemd/system/sysinit.target.wants/lab-udev.service")); err != nil {
			return err
		}
	}
	if h.Spec.TSS {
		if err := h.addTSS(); err != nil {
			return err
		}
	}
	if h.Spec.OldSystemd {
		path := filepath.Join(h.Root, "usr/local/sbin/systemctl")
		if err := os.WriteFile(path, []byte(oldSystemctl), 0o755); err != nil {
			return err
		}
	}
	if h.Spec.Down {
		return nil
	}
	return h.addNetwork()
}

// oldSystemctl is the host's systemctl, but that it gives systemd for older than it is.
const oldSystemctl = `#!/bin/sh
if [ "$1" = --version ]; then echo 'systemd 219'; exit; fi
exec /usr/bin/systemctl "$@"
`

// writeIdentity gives the host a name, a machine ID and an SSH key of its own.
func (h *Host) writeIdentity() error {
	key := filepath.Join(h.Root, "etc/ssh/ssh_host_ed25519_key")
	err := errors.Join(
		os.WriteFile(filepath.Join(h.Root, "etc/hostname"), []byte(h.Name+"\n"), 0o644),
		os.WriteFile(filepath.Join(h.Root, "etc/hosts"), []byte("127.0.0.1 localhost\n127.0.1.1 "+h.Name+"\n"), 0o644),
		os.WriteFile(filepath.Join(h.Root, "etc/machine-id"), fmt.Appendf(nil, "%032x\n", 0x1ab0000+h.index), 0o444),
		command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", h.Name, "-f", key),
	)
	if err != nil {
		return err
	}
	public, err := os.ReadFile(key + ".pub")
	h.hostKey = strings.Join(strings.Fields(string(public))[:2], " ")
	return err
}

// tssRules are the rules that the TPM2 software stack's packages bring.
const tssRules = `KERNEL=="tpm[0-9]*", TAG+="systemd", MODE="0660", OWNER="tss"
KERNEL=="tpmrm[0-9]*", TAG+="systemd", MODE="0660", GROUP="tss"
`

func (h *Host) addTSS() error {
	return errors.Join(
		command("chroot", h.Root, "groupadd", "--system", "tss"),
		command("chroot", h.Root, "useradd", "--system", "--gid", "tss", "--no-create-home",
			"--shell", "/usr/sbin/nologin", "tss"),
		os.MkdirAll(filepath.Join(h.Root, "usr/lib/udev/rules.d"), 0o755),
		os.WriteFile(filepath.Join(h.Root, "usr/lib/udev/rules.d/60-tpm-udev.rules"), []byte(tssRules), 0o644),
	)
}

// veth is the name of the bridge's end of the host's cable.
func (h *Host) veth() string { return fmt.Sprintf("lab%d", h.index) }

// Cable plugs the host's network cable in or pulls it.
func (h *Host) Cable(in bool) error {
	return command("ip", "link", "set", h.veth(), map[bool]string{true: "up", false: "down"}[in])
}

func (h *Host) addNetwork() error {
	veth := h.veth()
	for _, args := range [][]string{
		{"netns", "add", h.Name},
		{"link", "add", veth, "type", "veth", "peer", "name", "host0", "netns", h.Name},
		{"link", "set", veth, "master", bridge, "up"},
		{"-n", h.Name, "addr", "add", h.IP + "/24", "dev", "host0"},
		{"-n", h.Name, "link", "set", "host0", "up"},
		{"-n", h.Name, "link", "set", "lo", "up"},
	} {
		if err := command("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// Start boots the host; WaitSSH tells when it is up.
func (h *Host) Start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.off = false
	h.exited = make(chan struct{})
	if err := h.boot(); err != nil {
		return err
	}
	go h.supervise(h.exited)
	return nil
}

// supervise boots the host again when it asks for it, until it is powered off.
func (h *Host) supervise(exited chan struct{}) {
	defer close(exited)
	for {
		_ = h.nspawn.Wait()
		h.mu.Lock()
		reboot := h.nspawn.ProcessState.ExitCode() == 133 && !h.off // what systemd-nspawn --keep-unit says
		if !reboot || h.boot() != nil {
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
	}
}

// boot starts systemd-nspawn in a cgroup of the host's own.
func (h *Host) boot() error {
	if err := os.MkdirAll(h.cgroup, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(h.cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	console, err := os.OpenFile(filepath.Join(h.dir, "console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	args := []string{
		"--quiet", "--boot", "--directory=" + h.Root, "--machine=" + h.Name, "--hostname=" + h.Name, "--keep-unit",
		"--register=no", "--network-namespace-path=/run/netns/" + h.Name, "--link-journal=no", "--resolv-conf=off",
		"--timezone=off", "--console=pipe",
	}
	if h.device != nil {
		if err := h.device.Reset(); err != nil {
			return err
		}
		args = append(args, "--bind="+h.device.Path+":/dev/tpmrm0", "--overlay-ro=+/sys/class:"+sysClass+":/sys/class")
	}
	h.nspawn = exec.Command("systemd-nspawn", args...)
	h.nspawn.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	h.nspawn.Stdout, h.nspawn.Stderr = console, console
	h.nspawn.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Setsid: true}
	return h.nspawn.Start()
}

// Console returns what the host wrote to its console.
func (h *Host) Console() string {
	data, _ := os.ReadFile(filepath.Join(h.dir, "console"))
	return string(data)
}

// WaitSSH waits until sshd greets.
func (h *Host) WaitSSH(ctx context.Context) error {
	for {
		err := h.greets(ctx)
		if err == nil {
			return nil
		}
		h.mu.Lock()
		exited := h.exited
		h.mu.Unlock()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: sshd does not answer: %w\n%s", h.Name, err, h.Console())
		case <-exited:
			return fmt.Errorf("%s: it is off\n%s", h.Name, h.Console())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h *Host) greets(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(h.IP, "22"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = io.ReadFull(conn, make([]byte, 4))
	return err
}

// Kill takes the power from the host and waits until none of its processes is left. The next boot gets a new cgroup:
// recent kernels kill whatever is started straight into one that was killed before (seen with 6.18).
func (h *Host) Kill() {
	h.mu.Lock()
	h.off = true
	exited := h.exited
	h.mu.Unlock()
	removeCgroup(h.cgroup)
	<-exited
}

// Reboot reboots the host and waits until sshd greets again.
func (h *Host) Reboot(ctx context.Context) error {
	before, err := h.leader()
	if err != nil {
		return err
	}
	if _, err := h.Exec(ctx, "systemctl", "reboot"); err != nil {
		return err
	}
	for {
		now, err := h.leader()
		if err == nil && now != before {
			return h.WaitSSH(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// leader returns the PID of the host's systemd.
func (h *Host) leader() (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nspawn == nil {
		return "", errors.New(h.Name + ": it is off")
	}
	pid := h.nspawn.Process.Pid
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	fields := strings.Fields(string(data))
	if err != nil || len(fields) == 0 {
		return "", errors.New(h.Name + ": it is off")
	}
	return fields[len(fields)-1], nil
}

// WaitPath waits until a path is on the host's disk.
func (h *Host) WaitPath(ctx context.Context, path string) error {
	for {
		if _, err := os.Lstat(filepath.Join(h.Root, path)); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w", h.Name, path, ctx.Err())
		case <-time.After(2 * time.Millisecond): // an overlay tells inotify too little
		}
	}
}

// Exec runs a command in the host as root, not through its sshd, and returns its output; standard error is in the
// error.
func (h *Host) Exec(ctx context.Context, args ...string) (string, error) {
	leader, err := h.leader()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--",
	}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %s: %w\n%s", h.Name, strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}
