package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fleetctl/test/swtpm"
)

// Fixed places inside the namespaces. They are the lab's alone, so they may be fixed.
const (
	labDir    = "/run/lab"
	sysClass  = labDir + "/sys/class" // what /sys/class of a host with a TPM has besides the kernel's
	bridge    = "br-lab"
	bridgeIP  = "10.77.0.1"
	authPort  = 3025
	bootLimit = 90 * time.Second
)

// Lab is a laboratory that runs.
type Lab struct {
	Cluster
	Dir       string // inventory.yaml, fleet.yaml, known_hosts, id_ed25519, tpm-ca.pem, teleport.yaml, bin/tctl
	Key       string // private key that every host's users accept
	Hosts     []*Host
	base      string // layers of the hosts' file systems: the system, and the users' keys
	layer     string
	ca        *swtpm.CA
	foreignCA *swtpm.CA
	stop      []func() // last first
}

// Up boots hosts for a test and has them go with it. Where the lab cannot run the test is skipped.
func Up(t *testing.T, specs ...Spec) *Lab {
	t.Helper()
	if os.Getenv(envRole) != "inside" {
		t.Skip(os.Getenv(envReason))
	}
	l, err := New(t.Context(), specs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Down)
	return l
}

// New boots hosts and waits until their sshds greet. It must run inside the namespaces; there is one lab at a time.
func New(ctx context.Context, specs ...Spec) (l *Lab, err error) {
	l = &Lab{Dir: labDir, Key: filepath.Join(labDir, "id_ed25519")}
	defer func() {
		if err != nil {
			l.Down()
		}
	}()
	for _, step := range []func() error{l.unpack, l.network, l.startCluster} {
		if err := step(); err != nil {
			return l, err
		}
	}
	for i, spec := range specs {
		l.Hosts = append(l.Hosts, newHost(i, spec))
	}
	if err := l.boot(ctx); err != nil {
		return l, err
	}
	return l, errors.Join(l.writeKnownHosts(), l.WriteFiles(l.Dir, FleetName))
}

func newHost(i int, spec Spec) *Host {
	if spec.TPM == "" {
		spec.TPM = EKCert
	}
	if spec.User == "" {
		spec.User = Ops
	}
	if spec.Group == "" {
		spec.Group = "fleet"
	}
	dir := filepath.Join(labDir, "hosts", spec.Name)
	return &Host{
		Spec: spec, Name: spec.Name, User: spec.User, IP: fmt.Sprintf("10.77.0.%d", 11+i), index: i, dir: dir,
		Root:   filepath.Join(dir, "root"),
		cgroup: filepath.Join(os.Getenv(envCgroup), spec.Name), tpmDir: filepath.Join(labDir, "tpm", spec.Name),
	}
}

// Host returns a host by name; a name that is not there is a mistake in the test.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.Hosts {
		if h.Name == name {
			return h
		}
	}
	panic("the lab has no host " + name)
}

// Command makes a command that runs in the lab's directory with the lab's tctl and the fleetctl under test in its PATH.
func (l *Lab) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = l.Dir
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.Dir, "LAB_AUTH="+l.AuthAddr,
		"TELEPORT_CONFIG_FILE="+l.tctlConfig(), envRole+"=")
	return cmd
}

// Fleetctl is the program under test: what the environment's FLEETCTL names, else bin/fleetctl of the repository that
// the working directory is in.
func Fleetctl() string {
	if path := os.Getenv("FLEETCTL"); path != "" {
		return path
	}
	dir, _ := os.Getwd()
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "templates", "templates.go")); err == nil {
			return filepath.Join(dir, "bin", "fleetctl")
		}
	}
	return "fleetctl"
}

// SSH runs a command on a host with OpenSSH, as the user that the inventory names.
func (l *Lab) SSH(ctx context.Context, h *Host, script string) (string, error) {
	out, err := l.Command(ctx, "ssh", "-F", "none", "-i", l.Key, "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile="+filepath.Join(l.Dir, "known_hosts"), h.User+"@"+h.IP, script).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("ssh %s: %w\n%s", h.Name, err, out)
	}
	return string(out), nil
}

// Down ends everything that Up started.
func (l *Lab) Down() {
	for _, h := range l.Hosts {
		if h.exited != nil {
			h.Kill()
		}
	}
	for i := len(l.stop) - 1; i >= 0; i-- {
		l.stop[i]()
	}
	l.stop = nil
}

// unpack lays out the hosts' file system and what every host gets on top of it.
func (l *Lab) unpack() error {
	l.base = filepath.Join(labDir, "base")
	l.layer = filepath.Join(labDir, "layer")
	bin := filepath.Join(labDir, "bin")
	if _, err := os.Stat(l.base); err == nil {
		return nil // of an earlier lab in the same process
	}
	// This process is the lab's, so its environment may be.
	path := bin + ":" + filepath.Dir(os.Getenv("FLEETCTL")) + ":" + os.Getenv("PATH")
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	for _, dir := range []string{l.base, bin, filepath.Join(sysClass, "tpm/tpm0/device/tpmrm/tpmrm0")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		command("tar", "--zstd", "--numeric-owner", "--xattrs", "-xf", os.Getenv(envBase), "-C", l.base),
		os.WriteFile(filepath.Join(sysClass, "tpm/tpm0/tpm_version_major"), []byte("2\n"), 0o444),
		command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", l.Key),
		command("cp", filepath.Join(os.Getenv(envBin), "tctl"), bin),
		l.makeLayer(l.layer),
	)
}

// makeLayer makes the layer that lets users log in.
func (l *Lab) makeLayer(dir string) error {
	for i, user := range []string{Ops, Careful} {
		uid := 1000 + i // as in base.sh
		ssh := filepath.Join(dir, "home", user, ".ssh")
		keys := filepath.Join(ssh, "authorized_keys")
		if err := os.MkdirAll(ssh, 0o700); err != nil {
			return err
		}
		err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, "home"), 0o755),
			command("cp", l.Key+".pub", keys), os.Chown(filepath.Join(dir, "home", user), uid, uid),
			os.Chown(ssh, uid, uid), os.Chown(keys, uid, uid))
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) network() error {
	l.stop = append(l.stop, func() { _ = command("ip", "link", "del", bridge) })
	for _, args := range [][]string{
		{"link", "add", bridge, "type", "bridge"},
		{"addr", "add", bridgeIP + "/24", "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		if err := command("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// boot makes the TPMs and boots the hosts, all at once, and waits for them.
func (l *Lab) boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	tpms := make(chan error, 1)
	if err := l.makeDevices(); err != nil {
		return err
	}
	go func() { tpms <- l.makeTPMs(ctx) }()
	errs := make([]error, len(l.Hosts))
	var wg sync.WaitGroup
	for i, h := range l.Hosts {
		l.stop = append(l.stop, h.release)
		if errs[i] = h.prepare(l); errs[i] != nil || h.Spec.Down {
			continue
		}
		wg.Go(func() {
			if errs[i] = h.Start(); errs[i] == nil {
				errs[i] = h.WaitSSH(ctx)
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, <-tpms)...)
}

// release gives back what a host has outside its processes.
func (h *Host) release() {
	_ = command("ip", "link", "del", h.veth()) // a namespace takes its time to go
	_ = command("ip", "netns", "del", h.Name)
	_ = command("umount", "--lazy", h.Root)
	_ = command("umount", "--lazy", h.dir)
}

// makeDevices makes a device for every host that is to have a TPM. The TPMs themselves come while the hosts boot.
func (l *Lab) makeDevices() error {
	for _, h := range l.Hosts {
		if h.Spec.TPM == NoTPM || h.Spec.Down {
			continue
		}
		d, err := newDevice(func() string { return filepath.Join(h.tpmDir, "sock") })
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		h.device = d
		l.stop = append(l.stop, d.Close)
	}
	return nil
}

// makeTPMs makes and starts the hosts' TPMs.
func (l *Lab) makeTPMs(ctx context.Context) error {
	var err error
	if l.ca, err = swtpm.NewCA(filepath.Join(l.Dir, "ca")); err != nil {
		return err
	}
	if l.foreignCA, err = swtpm.NewCA(filepath.Join(l.Dir, "foreign-ca")); err != nil {
		return err
	}
	for _, h := range l.Hosts {
		if h.device == nil {
			continue
		}
		if err := l.makeTPM(ctx, h); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		l.stop = append(l.stop, func() { h.TPM.Stop() }) // the one that it has then
	}
	return nil
}

// ReplaceTPM gives a host another TPM of the same kind, as a new board does.
func (l *Lab) ReplaceTPM(ctx context.Context, h *Host) error {
	h.TPM.Stop()
	return l.makeTPM(ctx, h)
}

func (l *Lab) makeTPM(ctx context.Context, h *Host) (err error) {
	if err := os.RemoveAll(h.tpmDir); err != nil {
		return err
	}
	switch {
	case h.Spec.CloneOf != "":
		err = swtpm.Clone(l.Host(h.Spec.CloneOf).tpmDir, h.tpmDir)
	case h.Spec.TPM == NoEKCert:
		err = swtpm.MakeBare(ctx, h.tpmDir)
	case h.Spec.TPM == ForeignCA:
		err = l.foreignCA.Make(ctx, h.tpmDir, h.Name)
	default:
		err = l.ca.Make(ctx, h.tpmDir, h.Name)
	}
	if err != nil {
		return err
	}
	if h.TPM, err = swtpm.Start(h.tpmDir); err != nil {
		return err
	}
	if h.Spec.TPM == ForeignKey {
		return l.writeForeignCert(ctx, h)
	}
	return nil
}

// writeForeignCert gives a TPM the certificate of another one that nobody has.
func (l *Lab) writeForeignCert(ctx context.Context, h *Host) error {
	dir := h.tpmDir + "-other"
	if err := l.ca.Make(ctx, dir, h.Name+"-other"); err != nil {
		return err
	}
	other, err := swtpm.Start(dir)
	if err != nil {
		return err
	}
	defer other.Stop()
	cert, err := other.ReadCert()
	if err != nil {
		return err
	}
	return h.TPM.WriteCert(cert)
}
