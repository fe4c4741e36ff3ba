package remotetest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/remote"
)

// NeedPeer finds a program. It skips a test whose peer is not installed, or fails it where CI says that everything is.
func NeedPeer(t testing.TB, program string) string {
	t.Helper()
	for _, p := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	missing(t, program+" is not installed")
	return ""
}

// missing skips a test for want of something, or fails it where CI says that everything is there.
func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// NeedRoot skips a test that changes the machine when it may not.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// SSHD is a real OpenSSH server on loopback, which dies with the test.
type SSHD struct {
	Dir     string // what it uses; others may look into it
	Port    int
	KeyFile string // of a user who may log in
	Known   string // a known_hosts file that has it for 127.0.0.1
	User    string

	t       testing.TB
	bin     string
	wrap    []string
	process *exec.Cmd
	log     lockedBuffer
}

// lockedBuffer is a buffer for a process's output.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// StartSSHD starts sshd. Lines of configuration come before the defaults, so that they win.
func StartSSHD(t testing.TB, lines ...string) *SSHD {
	t.Helper()
	return startSSHD(t, SharedDir(t), nil, lines)
}

// StartSSHDInNamespace starts sshd with mounts of its own, which a shell script makes as root. /tmp may be mounted over:
// the server's own files lie in /run.
func StartSSHDInNamespace(t testing.TB, script string, lines ...string) *SSHD {
	t.Helper()
	NeedRoot(t)
	if err := exec.Command(NeedPeer(t, "unshare"), "-m", "true").Run(); err != nil {
		t.Skipf("no mount namespaces here: %v", err)
	}
	wrap := []string{
		"unshare", "--mount", "--propagation", "private", "sh", "-ec", script + "\nexec \"$@\"", "sh",
	}
	return startSSHD(t, sharedDirIn(t, "/run"), wrap, lines)
}

func startSSHD(t testing.TB, dir string, wrap, lines []string) *SSHD {
	t.Helper()
	s := &SSHD{t: t, bin: NeedPeer(t, "sshd"), wrap: wrap, Dir: dir, Port: FreePort(t)}
	if os.Getuid() == 0 { // its privilege separation directory
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.User = me.Username
	pam := needLogin(t, me.Username)
	KeyGen(t, s.file("host"), "ed25519")
	s.KeyFile = s.file("id")
	KeyGen(t, s.KeyFile, "ed25519")
	write(t, s.file("authorized_keys"), read(t, s.KeyFile+".pub"), 0o644)
	s.Known = s.file("known_hosts")
	write(t, s.Known, fmt.Sprintf("[127.0.0.1]:%d %s", s.Port, read(t, s.file("host.pub"))), 0o644)
	cfg := append(append([]string{}, lines...),
		"Port "+strconv.Itoa(s.Port), "HostKey "+s.file("host"), "PidFile "+s.file("pid"),
		"AuthorizedKeysFile "+s.file("authorized_keys"), "StrictModes no", "UsePAM "+pam, "PasswordAuthentication no",
		"LogLevel VERBOSE", "PermitRootLogin yes", "ListenAddress 127.0.0.1",
	)
	write(t, s.file("sshd_config"), strings.Join(cfg, "\n")+"\n", 0o644)
	s.Start()
	return s
}

// needLogin skips a test, or fails it where CI is set, for a user that no sshd lets in. It returns what UsePAM has to be: an
// sshd without PAM refuses an account whose password is locked, as useradd makes it, whatever key it has (sshd(8)).
func needLogin(t testing.TB, name string) (pam string) {
	t.Helper()
	if os.Getuid() == 0 {
		return "no"
	}
	account, err := exec.Command("getent", "passwd", name).Output()
	if err != nil {
		t.Fatalf("who is %s? %v", name, err)
	}
	fields := strings.Split(strings.TrimSpace(string(account)), ":")
	switch shell := filepath.Base(fields[len(fields)-1]); shell {
	case "nologin", "false":
		missing(t, fmt.Sprintf("user %s has the login shell %s: no sshd lets it in", name, shell))
	}
	if status, err := exec.Command("passwd", "-S").Output(); err == nil && strings.Contains(string(status), " L ") {
		return "yes"
	}
	return "no"
}

func (s *SSHD) file(name string) string { return filepath.Join(s.Dir, name) }

// Start starts the server, again after Stop, and waits until it listens.
func (s *SSHD) Start() {
	s.t.Helper()
	argv := append(append([]string{}, s.wrap...), s.bin, "-D", "-e", "-f", s.file("sshd_config"))
	s.process = exec.Command(argv[0], argv[1:]...)
	s.process.Stderr = &s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	p := s.process
	s.t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		if s.t.Failed() {
			s.t.Logf("sshd: %s", s.log.String())
		}
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return
		}
	}
	s.t.Fatalf("sshd does not listen: %s", s.log.String())
}

// Stop ends the server; connections that it has accepted live on.
func (s *SSHD) Stop() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

// Log is what sshd has logged so far.
func (s *SSHD) Log() string { return s.log.String() }

// Target is the server as an inventory has it: no other configuration, key or agent of the machine is used.
func (s *SSHD) Target() remote.Target {
	return remote.Target{
		Name: "sshd", Host: "127.0.0.1", Port: s.Port, User: s.User, PrivateKeyFile: s.KeyFile,
		SSHArgs: Isolated(s.Known),
	}
}

// Isolated are SSH arguments that keep the machine's own configuration out.
func Isolated(knownHosts string) []string {
	return []string{
		"-F", "none", "-o", "UserKnownHostsFile=" + knownHosts, "-o", "GlobalKnownHostsFile=none",
		"-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes",
	}
}

// SharedDir is a temporary directory that other users may enter.
func SharedDir(t testing.TB) string {
	t.Helper()
	return sharedDirIn(t, "")
}

func sharedDirIn(t testing.TB, base string) string {
	t.Helper()
	dir, err := os.MkdirTemp(base, "fleetctl-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// FreePort returns a TCP port of 127.0.0.1 that was free a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// KeyGen makes a key with ssh-keygen, without a passphrase unless more says so (-N is given first).
func KeyGen(t testing.TB, path, kind string, more ...string) {
	t.Helper()
	args := append([]string{"-q", "-t", kind, "-N", "", "-C", "test", "-f", path}, more...)
	if out, err := exec.Command(NeedPeer(t, "ssh-keygen"), args...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
}

func write(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
