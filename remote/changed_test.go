package remote_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// passwordThief is an SSH server that takes every password and remembers that it was sent one; keys it refuses, but counts.
type passwordThief struct {
	port   int
	signer ssh.Signer

	mu     sync.Mutex
	stolen []string
	keys   int
}

func startThief(t *testing.T) *passwordThief {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &passwordThief{signer: newKey(t)}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		p.port = a.Port
	}
	cfg := &ssh.ServerConfig{
		PasswordCallback: func(_ ssh.ConnMetadata, pw []byte) (*ssh.Permissions, error) {
			return nil, p.steal("password " + string(pw))
		},
		KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil {
				return nil, err
			}
			return nil, p.steal(fmt.Sprintf("keyboard-interactive %q", answers))
		},
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.keys++
			return nil, errors.New("no")
		},
	}
	cfg.AddHostKey(p.signer)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _, _, _ = ssh.NewServerConn(c, cfg)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return p
}

func (p *passwordThief) steal(what string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stolen = append(p.stolen, what)
	return errors.New("taken")
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNoPasswordIsSentWhereTheHostKeyChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "id")
	remotetest.KeyGen(t, key, "ed25519")
	for _, tt := range []struct {
		name    string
		known   func(*passwordThief) string
		prefer  string
		stolen  int
		offered bool
	}{
		{"another key is known", func(*passwordThief) string { return authorized(newKey(t).PublicKey()) }, "", 0, true},
		{"another key is known, and passwords come first", func(*passwordThief) string { return authorized(newKey(t).PublicKey()) },
			"keyboard-interactive,password,publickey", 0, true},
		{"this key is known", func(p *passwordThief) string { return authorized(p.signer.PublicKey()) }, "", 1, true},
		{"no key is known", func(*passwordThief) string { return "" }, "", 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startThief(t)
			known := filepath.Join(t.TempDir(), "known_hosts")
			if line := tt.known(p); line != "" {
				writeFile(t, known, fmt.Sprintf("[127.0.0.1]:%d %s", p.port, line))
			}
			target := remote.Target{
				Name: "h", Host: "127.0.0.1", Port: p.port, User: "u", Password: "fleet's", PrivateKeyFile: key,
				SSHArgs: remotetest.Isolated(known),
			}
			if tt.prefer != "" {
				target.SSHArgs = append(target.SSHArgs, "-o", "PreferredAuthentications="+tt.prefer)
			}
			err := logIn(t, remote.Options{HostKeyChecking: "off", Retries: -1}, target)
			if !errors.Is(err, remote.ErrAuth) {
				t.Errorf("got %v", err)
			}
			if tt.stolen == 0 && !strings.Contains(fmt.Sprint(err), "key has changed") {
				t.Errorf("the error does not say why: %v", err)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.stolen) != tt.stolen || (p.keys > 0) != tt.offered {
				t.Errorf("it was sent %q and %d keys", p.stolen, p.keys)
			}
		})
	}
}

func TestNoBecomePasswordIsSentWhereTheHostKeyChanged(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	known := readFile(t, server.Known)
	for _, tt := range []struct {
		name   string
		become remote.Become
	}{
		{"sudo", remote.Become{Password: goodPassword}},
		{"su", remote.Become{Method: "su", User: "daemon", Password: goodPassword}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := loginAs(t, server, remotetest.UserConfig{Sudoers: "USER ALL=(ALL) ALL", Password: goodPassword})
			target.Become = tt.become
			for changed, want := range map[bool]error{true: remote.ErrBecomeNeedsPass, false: nil} {
				writeFile(t, server.Known, known)
				if changed {
					writeFile(t, server.Known, fmt.Sprintf("[127.0.0.1]:%d %s", server.Port, authorized(newKey(t).PublicKey())))
				}
				c := dialTest(t, remote.Options{HostKeyChecking: "off"}, target)
				_, err := c.Run(t.Context(), remote.Cmd{Script: "id -un", Become: true})
				if tt.name == "su" && !changed {
					continue // daemon has no password of its own
				}
				if !errors.Is(err, want) || (want == nil && err != nil) {
					t.Errorf("changed %v: got %v, want %v", changed, err, want)
				}
				var e *remote.Error
				if changed && (!errors.As(err, &e) || !strings.Contains(e.Hint, "key has changed")) {
					t.Errorf("it does not say why: %#v", err)
				}
			}
		})
	}
}

// TestOneNewKeyIsTrustedForOneName lets a host show another key to each connection.
func TestOneNewKeyIsTrustedForOneName(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 1, func(h *remotetest.Host) { h.HostKeys = []ssh.Signer{newKey(t)} })
	known := filepath.Join(t.TempDir(), "known_hosts")
	var mu sync.Mutex
	trusted := map[string]bool{}
	opts := remote.Options{HostKeyChecking: "accept-new", Accepted: func(_, fp string) {
		mu.Lock()
		defer mu.Unlock()
		trusted[fp] = true
	}}
	d, other := newDialer(t, opts), newDialer(t, opts) // another run at the same time
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			target := hosts.target(0)
			target.SSHArgs = remotetest.Isolated(known)
			if i%3 == 1 { // other files, of which the first is the same
				target.SSHArgs[3] += " " + known + "2"
			}
			by := d
			if i%2 == 1 {
				by = other
			}
			if err := runOnce(t.Context(), by, target, "x"); err != nil && !errors.Is(err, remote.ErrHostKeyChanged) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(trusted) != 1 || strings.Count(readFile(t, known), "\n") != 1 {
		t.Errorf("%d keys were trusted: %v\n%s", len(trusted), trusted, readFile(t, known))
	}
}

// TestAKeyThatCannotBeRecorded is trusted for the connection, as ssh does it, and said once; another key for the same name is
// not, in any list of files.
func TestAKeyThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	known := "/proc/no-such-directory/known_hosts"
	var shows atomic.Int32
	keys := []ssh.Signer{newKey(t), newKey(t)}
	hosts := startFleet(t, 1, func(h *remotetest.Host) { h.HostKeys = []ssh.Signer{keys[shows.Load()]} })
	var accepted, warned atomic.Int32
	d := newDialer(t, remote.Options{
		HostKeyChecking: "accept-new", Accepted: func(string, string) { accepted.Add(1) },
		Warn: func(text string) {
			if warned.Add(1); !strings.Contains(text, "cannot be recorded") || !strings.Contains(text, known) {
				t.Errorf("heard %q", text)
			}
		},
	})
	target := hosts.target(0)
	target.SSHArgs = remotetest.Isolated(known)
	for range 2 {
		if err := runOnce(t.Context(), d, target, "x"); err != nil {
			t.Error(err)
		}
	}
	shows.Store(1)
	for _, files := range []string{known, known + " /proc/other"} {
		target.SSHArgs = remotetest.Isolated(files)
		if err := runOnce(t.Context(), d, target, "x"); !errors.Is(err, remote.ErrHostKeyChanged) {
			t.Errorf("another key: %v", err)
		}
	}
	if accepted.Load() != 1 || warned.Load() != 1 {
		t.Errorf("accepted %d times, warned %d times", accepted.Load(), warned.Load())
	}
}

// TestAHostKeyThatWasRefusedStaysTheError asks a host again for the keys that it is known by, and it does worse things.
func TestAHostKeyThatWasRefusedStaysTheError(t *testing.T) {
	t.Parallel()
	rsa := filepath.Join(t.TempDir(), "rsa")
	remotetest.KeyGen(t, rsa, "rsa", "-b", "2048")
	for name, second := range map[string]func(*remotetest.Host){
		"it has no such key":  func(*remotetest.Host) {},
		"it hangs up":         withFault(remotetest.Fault{CloseAtOnce: true}),
		"it says nothing":     withFault(remotetest.Fault{HangAfterAccept: true}),
		"it is no SSH server": withFault(remotetest.Fault{Garbage: []byte("HTTP/1.1 400 Bad Request\r\n")}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := remotetest.NewCountdown(1)
			hosts := startFleet(t, 1, func(h *remotetest.Host) {
				if !first.Next() {
					second(h)
				}
			})
			known := filepath.Join(t.TempDir(), "known_hosts")
			writeFile(t, known, fmt.Sprintf("[%s]:%d %s", address(0), hosts.Port(), readFile(t, rsa+".pub")))
			target := hosts.target(0)
			target.SSHArgs = remotetest.Isolated(known)
			if err := logIn(t, quick(), target); !errors.Is(err, remote.ErrHostKeyChanged) {
				t.Errorf("got %v, want %v", err, remote.ErrHostKeyChanged)
			}
		})
	}
}

func TestErrorsOfAConnectionNameAddressAndPort(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*remotetest.Host){
		"closes at once":           withFault(remotetest.Fault{CloseAtOnce: true}),
		"hangs after accept":       withFault(remotetest.Fault{HangAfterAccept: true}),
		"hangs in authentication":  withFault(remotetest.Fault{HangInAuth: true}),
		"sends garbage":            withFault(remotetest.Fault{Garbage: []byte("HTTP/1.1 400\r\n")}),
		"lets nobody in":           func(h *remotetest.Host) { h.Users = []string{"other"} },
		"has another host key":     func(h *remotetest.Host) { h.HostKeys = otherKey() },
		"breaks during a command":  func(h *remotetest.Host) { h.Handler = status(-1, "") },
		"drops during the session": withFault(remotetest.Fault{DropAfter: 2500}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hosts := startFleet(t, 1, edit)
			err := logIn(t, quick(), hosts.target(0))
			if want := net.JoinHostPort(address(0), fmt.Sprint(hosts.Port())); err == nil || strings.Count(err.Error(), want) != 1 {
				t.Errorf("%v does not name %s once", err, want)
			}
		})
	}
	target := remote.Target{Name: "h", Host: "127.0.0.1", Port: remotetest.FreePort(t), SSHArgs: remotetest.Isolated("none")}
	if err := logIn(t, quick(), target); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("127.0.0.1:%d", target.Port)) {
		t.Errorf("nobody listens: %v", err)
	}
}
