package remotetest_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// shells are the login shells that hosts have. Options of their own follow the program.
func shells() []string {
	return []string{"/bin/sh", "/bin/bash", "/bin/dash", "/bin/ksh", "/usr/bin/fish", "/bin/csh", "/bin/tcsh", "/usr/bin/zsh"}
}

const noise = "echo 'Welcome to the machine'\nprintf 'no newline'\necho 'stderr noise' >&2\n"

// noisy puts noise into every file that a shell reads for a command.
func noisy(t *testing.T, home string) {
	t.Helper()
	for _, name := range []string{".bashrc", ".profile", ".zshenv", ".cshrc", ".tcshrc", ".kshrc", ".config/fish/config.fish"} {
		path := filepath.Join(home, name)
		text := noise
		if filepath.Ext(name) == ".cshrc" || name == ".cshrc" || name == ".tcshrc" {
			text = "echo 'Welcome to the machine'\necho -n 'no newline'\n"
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConformanceOfOpenSSH(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{
		"as it comes":                    nil,
		"with PAM, a banner and no sftp": {"UsePAM yes", "PrintMotd yes", "Banner /etc/passwd"},
		"with compression and AES-CTR":   {"Compression yes", "Ciphers aes256-ctr", "MACs hmac-sha2-256"},
		"with old algorithms":            {"KexAlgorithms ecdh-sha2-nistp256,diffie-hellman-group14-sha256", "Ciphers aes128-ctr"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := remotetest.StartSSHD(t, lines...)
			remotetest.Conformance(t, remotetest.Peer{Target: server.Target(), Dir: t.TempDir(), Become: os.Getuid() == 0})
		})
	}
}

func TestConformanceOfLoginShells(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	for _, shell := range shells() {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			remotetest.NeedPeer(t, shell)
			name, home := remotetest.NewUser(t, remotetest.UserConfig{Shell: shell, Sudoers: "USER ALL=(ALL) NOPASSWD: ALL"})
			noisy(t, home)
			target := server.Target()
			target.User = name
			remotetest.Conformance(t, remotetest.Peer{Target: target, Dir: home, Become: true})
		})
	}
}

func TestConformanceOfBusybox(t *testing.T) {
	t.Parallel()
	busybox := remotetest.NeedPeer(t, "busybox")
	// Everything that the scripts need is busybox's, /bin/sh too.
	bin := remotetest.SharedDir(t)
	if out, err := exec.Command(busybox, "--install", "-s", bin).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	server := remotetest.StartSSHDInNamespace(t, "mount --bind "+busybox+" /bin/dash", "SetEnv PATH="+bin)
	name, home := remotetest.NewUser(t, remotetest.UserConfig{})
	target := server.Target()
	target.User = name
	remotetest.Conformance(t, remotetest.Peer{Target: target, Dir: home})
}

func TestConformanceOfTheInProcessServer(t *testing.T) {
	t.Parallel()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range shells() {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			remotetest.NeedPeer(t, shell)
			home := t.TempDir()
			noisy(t, home)
			target := inProcess(t, home, shell)
			target.User = me.Username
			remotetest.Conformance(t, remotetest.Peer{Target: target, Dir: home})
		})
	}
}

// inProcess starts an in-process server and returns how to reach it.
func inProcess(t *testing.T, home, shell string) remote.Target {
	t.Helper()
	dir := t.TempDir()
	key, known := filepath.Join(dir, "id"), filepath.Join(dir, "known_hosts")
	remotetest.KeyGen(t, key, "ed25519")
	data, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		t.Fatal(err)
	}
	hk, err := remotetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	server, err := remotetest.Start(remotetest.Config{HostFor: func(netip.Addr) (*remotetest.Host, error) {
		return &remotetest.Host{
			HostKeys: []ssh.Signer{hk}, AuthorizedKeys: []ssh.PublicKey{pub}, Banner: "Authorized use only\r\n",
			Handler: remotetest.Shell(remotetest.ShellConfig{Dir: home, Shell: shell}),
		}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	line := fmt.Sprintf("[127.0.0.1]:%d %s", server.Port(), ssh.MarshalAuthorizedKey(hk.PublicKey()))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return remote.Target{
		Name: "in process", Host: "127.0.0.1", Port: server.Port(), PrivateKeyFile: key, SSHArgs: remotetest.Isolated(known),
	}
}
