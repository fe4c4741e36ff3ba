package remote_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// serveAgent serves an agent on a socket.
func serveAgent(t testing.TB, a agent.Agent) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = agent.ServeAgent(a, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return path
}

// keyring is an agent with n keys that no host knows, and the given ones after them.
func keyring(t testing.TB, n int, files ...string) agent.Agent {
	t.Helper()
	ring := agent.NewKeyring()
	for range n {
		_, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: priv}); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		key, err := ssh.ParseRawPrivateKey([]byte(readFile(t, f)))
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	return ring
}

// withAgent is a target that has no key file but an agent.
func withAgent(target remote.Target, socket string, more ...string) remote.Target {
	target.PrivateKeyFile = ""
	var args []string
	for _, a := range target.SSHArgs {
		switch a {
		case "IdentityAgent=none":
			a = "IdentityAgent=" + socket
		case "IdentitiesOnly=yes":
			a = "IdentitiesOnly=no"
		}
		args = append(args, a)
	}
	target.SSHArgs = append(args, more...)
	return target
}

func logIn(t *testing.T, opts remote.Options, target remote.Target) error {
	t.Helper()
	return runOnce(t.Context(), newDialer(t, opts), target, "x")
}

func TestTheRightKeyIsFoundAmongMany(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t, "MaxAuthTries 3")
	socket := serveAgent(t, keyring(t, 12, server.KeyFile))
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"last in the agent", nil},
		{"named by its private half", []string{"-i", server.KeyFile}},
		{"named by its public half alone", []string{"-i", server.KeyFile + ".pub", "-o", "IdentitiesOnly=yes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := logIn(t, remote.Options{}, withAgent(server.Target(), socket, tt.args...)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAKeyThatWorkedIsOfferedFirst(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t, "MaxAuthTries 2")
	target := withAgent(server.Target(), serveAgent(t, keyring(t, 8, server.KeyFile)))
	d := newDialer(t, remote.Options{})
	for range 3 {
		if err := runOnce(t.Context(), d, target, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(server.Log(), "Too many authentication failures"); n > 8 {
		t.Errorf("%d connections were lost to MaxAuthTries: the good key was not remembered", n)
	}
}

func TestIdentitiesOnlyKeepsTheAgentsOtherKeysBack(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	other := filepath.Join(t.TempDir(), "other")
	remotetest.KeyGen(t, other, "ed25519")
	socket := serveAgent(t, keyring(t, 0, server.KeyFile))
	target := withAgent(server.Target(), socket, "-i", other)
	for i, a := range target.SSHArgs {
		target.SSHArgs[i] = strings.Replace(a, "IdentitiesOnly=no", "IdentitiesOnly=yes", 1)
	}
	if err := logIn(t, remote.Options{}, target); !errors.Is(err, remote.ErrAuth) {
		t.Errorf("got %v", err)
	}
}

func TestPassphrasesAreAskedOnce(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	for _, format := range [][]string{{"-p", "-P", "", "-N", "secret"}, {"-p", "-P", "", "-N", "secret", "-m", "PEM"}} {
		key := filepath.Join(t.TempDir(), "id")
		remotetest.KeyGen(t, key, "rsa")
		server.Addf("authorized_keys", "%s", strings.TrimSpace(readFile(t, key+".pub")))
		if out, err := exec.Command("ssh-keygen", append(format, "-q", "-f", key)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var asked atomic.Int32
		d := newDialer(t, remote.Options{Passphrase: func(file string) (string, error) {
			asked.Add(1)
			if file != key {
				t.Errorf("asked for %s", file)
			}
			return "secret", nil
		}})
		target := server.Target()
		target.PrivateKeyFile = key
		if err := d.Preload(t.Context(), []remote.Target{target, target}); err != nil {
			t.Fatal(err)
		}
		if asked.Load() != 1 {
			t.Errorf("asked %d times before the run", asked.Load())
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := runOnce(t.Context(), d, target, "x"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if asked.Load() != 1 {
			t.Errorf("asked %d times", asked.Load())
		}
	}
}

func TestALockedKeyThatTheAgentHasIsNotAskedFor(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	locked := filepath.Join(t.TempDir(), "id")
	writeFile(t, locked, readFile(t, server.KeyFile))
	writeFile(t, locked+".pub", readFile(t, server.KeyFile+".pub"))
	if out, err := exec.Command("ssh-keygen", "-p", "-P", "", "-N", "secret", "-q", "-f", locked).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	target := withAgent(server.Target(), serveAgent(t, keyring(t, 3, server.KeyFile)), "-i", locked)
	err := logIn(t, remote.Options{Passphrase: func(string) (string, error) {
		t.Error("asked for a passphrase")
		return "", errors.New("no")
	}}, target)
	if err != nil {
		t.Error(err)
	}
}

func TestUserCertificates(t *testing.T) {
	t.Parallel()
	dir := remotetest.SharedDir(t)
	ca, key := filepath.Join(dir, "ca"), filepath.Join(dir, "id")
	remotetest.KeyGen(t, ca, "ed25519")
	remotetest.KeyGen(t, key, "ed25519")
	server := remotetest.StartSSHD(t, "TrustedUserCAKeys "+ca+".pub")
	sign := exec.Command("ssh-keygen", "-q", "-s", ca, "-I", "id", "-n", server.User, key+".pub")
	if out, err := sign.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	target := server.Target()
	target.PrivateKeyFile = key
	if err := logIn(t, remote.Options{}, target); err != nil {
		t.Error(err)
	}
	elsewhere := filepath.Join(dir, "elsewhere.pub")
	if err := os.Rename(key+"-cert.pub", elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := logIn(t, remote.Options{}, target); !errors.Is(err, remote.ErrAuth) {
		t.Errorf("without the certificate: %v", err)
	}
	target.SSHArgs = append(target.SSHArgs, "-o", "CertificateFile="+elsewhere)
	if err := logIn(t, remote.Options{}, target); err != nil {
		t.Errorf("by CertificateFile: %v", err)
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	user, _ := remotetest.NewUser(t, remotetest.UserConfig{Password: goodPassword})
	expired, _ := remotetest.NewUser(t, remotetest.UserConfig{Password: goodPassword, Expired: true})
	password := remotetest.StartSSHD(t, "PasswordAuthentication yes", "KbdInteractiveAuthentication no")
	keyboard := remotetest.StartSSHD(t, "KbdInteractiveAuthentication yes", "UsePAM yes")
	both := remotetest.StartSSHD(t, "PasswordAuthentication yes", "KbdInteractiveAuthentication yes", "UsePAM yes")
	passwordPAM := remotetest.StartSSHD(t, "PasswordAuthentication yes", "KbdInteractiveAuthentication no", "UsePAM yes")
	for _, tt := range []struct {
		name     string
		server   *remotetest.SSHD
		user     string
		password string
		want     error
		say      string
	}{
		{"the right password", password, user, goodPassword, nil, ""},
		{"the right password, asked for by keyboard-interactive", keyboard, user, goodPassword, nil, ""},
		{"the right password where both ways are open", both, user, goodPassword, nil, ""},
		{"a wrong password", password, user, badPassword, remote.ErrAuth, "rejected"},
		{"a wrong password by keyboard-interactive", keyboard, user, badPassword, remote.ErrAuth, "rejected"},
		{"a wrong password where both ways are open", both, user, badPassword, remote.ErrAuth, "rejected"},
		{"no password", password, user, "", remote.ErrAuth, "no key or password"},
		{"an expired password by keyboard-interactive", keyboard, expired, goodPassword, remote.ErrAuth, "new password"},
		{"an expired password", passwordPAM, expired, goodPassword, remote.ErrAuth, "new password"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := tt.server.Target()
			target.User, target.Password, target.PrivateKeyFile = tt.user, tt.password, filepath.Join(t.TempDir(), "none")
			err := logIn(t, remote.Options{}, target)
			if !errors.Is(err, tt.want) || (tt.want == nil && err != nil) || !strings.Contains(fmt.Sprint(err), tt.say) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.say)
			}
		})
	}
}

func TestARejectedPasswordIsSentOnce(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	user, _ := remotetest.NewUser(t, remotetest.UserConfig{Password: goodPassword})
	server := remotetest.StartSSHD(t, "PasswordAuthentication yes", "KbdInteractiveAuthentication yes", "UsePAM yes")
	target := server.Target()
	target.User, target.Password, target.PrivateKeyFile = user, badPassword, ""
	if err := logIn(t, remote.Options{}, target); !errors.Is(err, remote.ErrAuth) {
		t.Fatal(err)
	}
	if n := strings.Count(server.Log(), "Failed password"); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

// hardwareAgent is an agent that holds one sk-ssh-ed25519 key, as a FIDO token would (PROTOCOL.u2f).
type hardwareAgent struct {
	agent.Agent
	private ed25519.PrivateKey
	public  []byte
}

func newHardwareAgent(t testing.TB) *hardwareAgent {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	blob := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, pub, "ssh:"})
	return &hardwareAgent{Agent: agent.NewKeyring(), private: priv, public: blob}
}

// List returns the one key.
func (h *hardwareAgent) List() ([]*agent.Key, error) {
	return []*agent.Key{{Format: ssh.KeyAlgoSKED25519, Blob: h.public, Comment: "token"}}, nil
}

// Sign signs as a token that was touched.
func (h *hardwareAgent) Sign(_ ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	app, msg := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	tail := binary.BigEndian.AppendUint32([]byte{1}, 7) // user present; counter
	blob := append(append(app[:], tail...), msg[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(h.private, blob), Rest: tail}, nil
}

func TestHardwareKeysWorkThroughTheAgent(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	token := newHardwareAgent(t)
	pub, err := ssh.ParsePublicKey(token.public)
	if err != nil {
		t.Fatal(err)
	}
	server.Addf("authorized_keys", "%s", strings.TrimSpace(authorized(pub)))
	if err := logIn(t, remote.Options{}, withAgent(server.Target(), serveAgent(t, token))); err != nil {
		t.Error(err)
	}
}

// TestAnAgentThatSaysNothingIsLeftWhenTheRunEnds asks an agent that accepts and never answers, twice at once.
func TestAnAgentThatSaysNothingIsLeftWhenTheRunEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	target := withAgent(remote.Target{Name: "h", Host: "127.0.0.1", SSHArgs: remotetest.Isolated("none")}, path)
	d := newDialer(t, remote.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := d.Dial(ctx, target)
			ended <- err
		}()
	}
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for range 2 {
		within(t, "a login", func() {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}
