package remotetest

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func key(t testing.TB) ssh.Signer {
	t.Helper()
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func dial(t testing.TB, addr string, user ssh.Signer, host ssh.PublicKey) *ssh.Client {
	t.Helper()
	c, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: "u", Auth: []ssh.AuthMethod{ssh.PublicKeys(user)}, HostKeyCallback: ssh.FixedHostKey(host),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestShellRunsCommandsWithStdinStatusAndEnvironment(t *testing.T) {
	t.Parallel()
	hk, uk := key(t), key(t)
	dir := t.TempDir()
	s := start(t, Config{Host: Host{
		HostKeys: []ssh.Signer{hk}, AuthorizedKeys: []ssh.PublicKey{uk.PublicKey()}, Handler: Shell(ShellConfig{Dir: dir}),
	}})
	c := dial(t, s.Addr().String(), uk, hk.PublicKey())
	sess, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	sess.Stdin, sess.Stdout, sess.Stderr = strings.NewReader("hello"), &out, &errOut
	if err := sess.Setenv("GREETING", "hi"); err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := sess.Run("cat; pwd; echo $GREETING >&2; exit 3"); !errors.As(err, &exit) || exit.ExitStatus() != 3 {
		t.Fatalf("status: %v", err)
	}
	if out.String() != "hello"+dir+"\n" || errOut.String() != "hi\n" {
		t.Errorf("stdout %q, stderr %q", &out, &errOut)
	}
}

func TestOneListenerServesManyHosts(t *testing.T) {
	t.Parallel()
	uk := key(t)
	s := start(t, Config{Addr: "0.0.0.0:0", HostFor: func(a netip.Addr) (*Host, error) {
		hk, err := SeededKey(a.String())
		if err != nil {
			return nil, err
		}
		return &Host{
			HostKeys: []ssh.Signer{hk}, AuthorizedKeys: []ssh.PublicKey{uk.PublicKey()},
			Handler: (&Script{Replies: map[string]Reply{"who": {Stdout: a.String()}}, Failf: t.Errorf}).Handler,
		}, nil
	}})
	for _, a := range []string{"127.0.7.1", "127.1.2.3"} {
		hk, err := SeededKey(a)
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, netip.AddrPortFrom(netip.MustParseAddr(a), uint16(s.Port())).String(), uk, hk.PublicKey())
		sess, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if out, err := sess.Output("who"); err != nil || string(out) != a {
			t.Errorf("%s: %q, %v", a, out, err)
		}
	}
}

func TestUnscriptedCommandFails(t *testing.T) {
	t.Parallel()
	hk, uk := key(t), key(t)
	failed := false
	script := &Script{Failf: func(string, ...any) { failed = true }}
	s := start(t, Config{Host: Host{
		HostKeys: []ssh.Signer{hk}, AuthorizedKeys: []ssh.PublicKey{uk.PublicKey()}, Handler: script.Handler,
	}})
	sess, err := dial(t, s.Addr().String(), uk, hk.PublicKey()).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := sess.Run("rm -rf /"); !errors.As(err, &exit) || exit.ExitStatus() != 127 {
		t.Errorf("status: %v", err)
	}
	if !failed {
		t.Error("the script did not fail")
	}
}

func TestClosingTheChannelKillsTheProcessGroup(t *testing.T) {
	t.Parallel()
	hk, uk := key(t), key(t)
	ended := make(chan int, 1)
	shell := Shell(ShellConfig{Dir: t.TempDir()})
	s := start(t, Config{Host: Host{
		HostKeys: []ssh.Signer{hk}, AuthorizedKeys: []ssh.PublicKey{uk.PublicKey()},
		Handler: shell.tee(ended),
	}})
	c := dial(t, s.Addr().String(), uk, hk.PublicKey())
	sess, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := sess.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sess.Start("echo up; sleep 1000 & sleep 1000"); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the command still runs")
	}
}

// tee tells the exit status to ended as well.
func (h Handler) tee(ended chan<- int) Handler {
	return func(ctx context.Context, req *Request) int {
		status := h(ctx, req)
		ended <- status
		return status
	}
}
