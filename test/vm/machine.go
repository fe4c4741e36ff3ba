package vm

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/test/swtpm"
)

// Gateway is this machine, as seen from the virtual one: what listens on 127.0.0.1 here, listens there.
const Gateway = "10.0.2.2"

// bootLimit is how long a machine may take until its sshd answers. 10 to 20 s are usual; this is for very busy machines.
const bootLimit = 5 * time.Minute

// Config says what a machine is to be like.
type Config struct {
	TPM      string            // TIS or CRB
	Programs map[string]string // for its /usr/local/bin: name to path on this machine
}

// Machine is one virtual machine with its disk and its TPM.
type Machine struct {
	Dir     string
	CA      *swtpm.CA // issuer of its EK certificate
	Key     string    // private key that its users ops and root accept
	HostKey string    // of its sshd, as in known_hosts
	Port    int       // of its sshd, on 127.0.0.1

	config Config
	image  image
	qemu   *process
	tpm    *process
	client *ssh.Client
}

// New makes a machine in an empty directory; it is off.
func New(ctx context.Context, dir string, config Config) (*Machine, error) {
	img, err := findImage()
	if err != nil {
		return nil, err
	}
	m := &Machine{Dir: dir, Key: filepath.Join(dir, "id_ed25519"), config: config, image: img}
	if m.CA, err = swtpm.NewCA(filepath.Join(dir, "ca")); err != nil {
		return nil, err
	}
	if err := m.CA.Make(ctx, m.tpmDir(), "vm"); err != nil {
		return nil, err
	}
	if m.Port, err = freePort(); err != nil {
		return nil, err
	}
	return m, m.makeDisk(img)
}

func (m *Machine) tpmDir() string { return filepath.Join(m.Dir, "tpm") }

// freePort returns a TCP port of 127.0.0.1 that nobody uses.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Start switches the machine on and waits for its sshd; it returns how long that took.
func (m *Machine) Start(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	var err error
	control := filepath.Join(m.Dir, "tpm.sock")
	_ = os.Remove(control)
	m.tpm, err = run("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.tpmDir(), "--ctrl", "type=unixio,path="+control, "--terminate")
	if err != nil {
		return 0, err
	}
	if err := m.tpm.waitPath(ctx, control); err != nil {
		return 0, err
	}
	if m.qemu, err = run("qemu-system-x86_64", m.qemuArgs(control)...); err != nil {
		return 0, err
	}
	err = m.waitSSH(ctx, "")
	return time.Since(begin), err
}

// qemuArgs describes the machine to QEMU. The processor is emulated even where there is KVM: one way that works everywhere
// is worth more than speed. The kernel is handed over, so that the firmware has nothing to load.
func (m *Machine) qemuArgs(control string) []string {
	return []string{
		"-M", "q35", "-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "1", "-m", "768", "-nodefaults", "-display", "none",
		"-serial", "file:" + m.console(),
		"-kernel", m.image.kernel, "-initrd", m.image.initrd,
		"-append", "console=ttyS0 panic=-1 quiet net.ifnames=0 mitigations=off",
		"-drive", "file=" + m.disk() + ",format=raw,if=virtio,cache=unsafe",
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-:22", m.Port), "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci",
		"-chardev", "socket,id=tpmctl,path=" + control, "-tpmdev", "emulator,id=tpm,chardev=tpmctl",
		"-device", m.config.TPM + ",tpmdev=tpm",
	}
}

func (m *Machine) console() string { return filepath.Join(m.Dir, "console.log") }

// waitPath waits until a program has made a file.
func (p *process) waitPath(ctx context.Context, path string) error {
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.exited:
			return p.failure()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Kill takes the machine's power.
func (m *Machine) Kill() {
	if m.client != nil {
		_ = m.client.Close()
	}
	if m.qemu != nil {
		m.qemu.stop(syscall.SIGKILL)
	}
	if m.tpm != nil {
		m.tpm.stop(syscall.SIGTERM)
	}
}

// PowerOff shuts the machine down in order and waits until it is off.
func (m *Machine) PowerOff(ctx context.Context) error {
	if _, err := m.Run(ctx, "systemctl poweroff"); err != nil {
		return err
	}
	for _, p := range []*process{m.qemu, m.tpm} { // swtpm ends with QEMU's connection
		select {
		case <-p.exited:
		case <-ctx.Done():
			return fmt.Errorf("it does not go off: %w\n%s", ctx.Err(), m.Console())
		}
	}
	_ = m.client.Close()
	return nil
}

// Reboot reboots the machine and waits for its sshd; it returns how long that took.
func (m *Machine) Reboot(ctx context.Context) (time.Duration, error) {
	before, err := m.Run(ctx, bootID)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := m.Run(ctx, "systemctl reboot"); err != nil {
		return 0, err
	}
	_ = m.client.Close()
	err = m.waitSSH(ctx, before)
	return time.Since(begin), err
}

// Console returns what the kernel said.
func (m *Machine) Console() string {
	data, _ := os.ReadFile(m.console())
	return string(data)
}
