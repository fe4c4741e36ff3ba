package remote

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
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// needPeer skips a test whose peer is not installed, or fails it where CI says that everything is.
func needPeer(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
	return ""
}

// sshd is a real OpenSSH server on loopback.
type sshd struct {
	dir     string
	port    int
	keyFile string // of a user who may log in
	known   string // a known_hosts file that has it
	user    string
	process *exec.Cmd
	log     *bytes.Buffer
}

// startSSHD starts sshd with more lines of configuration; the address defaults to 127.0.0.1.
func startSSHD(t testing.TB, lines ...string) *sshd {
	t.Helper()
	bin := needPeer(t, "sshd")
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{dir: t.TempDir(), user: me.Username, port: freePort(t)}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	keygen(t, filepath.Join(s.dir, "host"), "ed25519")
	s.keyFile = filepath.Join(s.dir, "id")
	keygen(t, s.keyFile, "ed25519")
	copyFile(t, s.keyFile+".pub", filepath.Join(s.dir, "authorized_keys"))
	s.known = filepath.Join(s.dir, "known_hosts")
	writeFile(t, s.known, fmt.Sprintf("[127.0.0.1]:%d %s\n", s.port, readFile(t, filepath.Join(s.dir, "host.pub"))))
	cfg := append(lines, []string{
		"Port " + strconv.Itoa(s.port), "HostKey " + filepath.Join(s.dir, "host"),
		"PidFile " + filepath.Join(s.dir, "pid"), "AuthorizedKeysFile " + filepath.Join(s.dir, "authorized_keys"),
		"StrictModes no", "UsePAM no", "PasswordAuthentication no", "LogLevel VERBOSE", "PermitRootLogin yes",
		"ListenAddress 127.0.0.1",
	}...)
	writeFile(t, filepath.Join(s.dir, "sshd_config"), strings.Join(cfg, "\n")+"\n")
	s.run(t, bin)
	return s
}

func (s *sshd) run(t testing.TB, bin string) {
	t.Helper()
	s.log = &bytes.Buffer{}
	s.process = exec.Command(bin, "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config"))
	s.process.Stderr = s.log
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", s.log)
		}
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return
		}
	}
	t.Fatalf("sshd does not listen: %s", s.log)
}

// target is the server as an inventory would have it.
func (s *sshd) target() Target {
	return Target{
		Name: "sshd", Host: "127.0.0.1", Port: s.port, User: s.user, PrivateKeyFile: s.keyFile,
		SSHArgs: []string{"-F", "none", "-o", "UserKnownHostsFile=" + s.known, "-o", "IdentityAgent=none"},
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func keygen(t testing.TB, path, kind string, more ...string) ssh.PublicKey {
	t.Helper()
	args := append([]string{"-q", "-t", kind, "-N", "", "-f", path}, more...)
	if out, err := exec.Command(needPeer(t, "ssh-keygen"), args...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	pub := readPublic(path + ".pub")
	if pub == nil {
		t.Fatalf("%s.pub is no key", path)
	}
	return pub
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	if err := os.WriteFile(to, []byte(readFile(t, from)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func newDialer(t testing.TB, opts Options) *Dialer {
	t.Helper()
	if opts.Logf == nil {
		opts.Logf = t.Logf
	}
	d, err := NewDialer(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
