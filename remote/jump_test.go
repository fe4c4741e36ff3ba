package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// fleet is many in-process hosts behind one listener, each with a host key of its own.
type fleet struct {
	*remotetest.Server
	key   string // private key file
	known string // known_hosts of 127.1.0.0 to 127.1.255.255
}

// startFleet starts n hosts at 127.1.0.1 and up; edit may change each of them.
func startFleet(t testing.TB, n int, edit func(*remotetest.Host)) *fleet {
	t.Helper()
	dir := t.TempDir()
	f := &fleet{key: filepath.Join(dir, "id"), known: filepath.Join(dir, "known_hosts")}
	remotetest.KeyGen(t, f.key, "ed25519")
	user := publicKey(t, f.key)
	shell := remotetest.Shell(remotetest.ShellConfig{Dir: dir})
	server, err := remotetest.Start(remotetest.Config{Addr: "0.0.0.0:0", HostFor: func(a netip.Addr) (*remotetest.Host, error) {
		hk, err := remotetest.SeededKey(a.String())
		if err != nil {
			return nil, err
		}
		h := &remotetest.Host{
			HostKeys: []ssh.Signer{hk}, AuthorizedKeys: []ssh.PublicKey{user}, Handler: shell, Forward: true,
		}
		if edit != nil {
			edit(h)
		}
		return h, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	f.Server = server
	var lines []string
	for i := range n {
		hk, err := remotetest.SeededKey(address(i))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("[%s]:%d %s", address(i), f.Port(), authorized(hk.PublicKey())))
	}
	writeFile(t, f.known, strings.Join(lines, ""))
	return f
}

// address is the address of the i-th host.
func address(i int) string { return fmt.Sprintf("127.1.%d.%d", (i+1)/250, (i+1)%250+1) }

func (f *fleet) target(i int) remote.Target {
	return remote.Target{
		Name: fmt.Sprintf("h%d", i), Host: address(i), Port: f.Port(), User: "u", PrivateKeyFile: f.key,
		SSHArgs: remotetest.Isolated(f.known),
	}
}

// viaSSHD is a target behind a real sshd as jump host.
func viaSSHD(t testing.TB, jump *remotetest.SSHD, target remote.Target) remote.Target {
	t.Helper()
	cfg := filepath.Join(t.TempDir(), "config")
	writeFile(t, cfg, fmt.Sprintf("Host jump\n HostName 127.0.0.1\n Port %d\n User %s\n IdentityFile %s\n UserKnownHostsFile %s\n"+
		"IdentityAgent none\nIdentitiesOnly yes\n", jump.Port, jump.User, jump.KeyFile, jump.Known))
	known := ""
	for _, a := range target.SSHArgs {
		if strings.HasPrefix(a, "UserKnownHostsFile=") {
			known = a
		}
	}
	target.SSHArgs = []string{"-F", cfg, "-J", "jump", "-o", known, "-o", "IdentityAgent=none"}
	return target
}

func TestAThousandHostsBehindOneOpenSSHJumpHost(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	const n = 1000
	jump := remotetest.StartSSHD(t) // default MaxStartups 10:30:100 and MaxSessions 10
	hosts := startFleet(t, n, nil)
	d := newDialer(t, remote.Options{Logf: func(string, ...any) {}})
	base := viaSSHD(t, jump, hosts.target(0))
	var wg sync.WaitGroup
	var failed atomic.Int32
	slots := make(chan struct{}, 100)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			target := hosts.target(i)
			target.SSHArgs = base.SSHArgs
			if err := runOnce(t.Context(), d, target, fmt.Sprint(i)); err != nil {
				failed.Add(1)
				t.Errorf("host %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if got := strings.Count(jump.Log(), "Accepted publickey"); got != 1 {
		t.Errorf("%d connections to the jump host", got)
	}
}

// runOnce dials a host, lets it say something, and hangs up.
func runOnce(ctx context.Context, d *remote.Dialer, target remote.Target, word string) error {
	c, err := d.Dial(ctx, target)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	out, err := c.Run(ctx, remote.Cmd{Script: "echo " + remote.Quote(word)})
	if err != nil {
		return err
	}
	if string(out.Stdout) != word+"\n" {
		return fmt.Errorf("it said %q", out.Stdout)
	}
	return nil
}

func TestTargetsOnTheJumpHostsOwnSSHDAreNotDropped(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	jump := remotetest.StartSSHD(t, "LoginGraceTime 60")
	target := viaSSHD(t, jump, jump.Target())
	d := newDialer(t, remote.Options{Logf: func(string, ...any) {}})
	var wg sync.WaitGroup
	for i := range 60 { // all at once, through one sshd with MaxStartups 10:30:100
		wg.Go(func() {
			if err := runOnce(t.Context(), d, target, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAJumpHostThatDiesIsConnectedAgain(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 3, nil)
	target := hosts.target(0)
	target.SSHArgs = append(target.SSHArgs, "-J", fmt.Sprintf("u@%s:%d", address(1), hosts.Port()))
	target.SSHArgs = append(target.SSHArgs, "-i", hosts.key)
	target = withConfig(t, target, hosts)
	d := newDialer(t, remote.Options{})
	for range 3 {
		if err := runOnce(t.Context(), d, target, "x"); err != nil {
			t.Fatal(err)
		}
		hosts.Drop()
	}
}

// withConfig makes an ssh_config for jump hosts too, which -o options don't reach.
func withConfig(t testing.TB, target remote.Target, f *fleet) remote.Target {
	t.Helper()
	cfg := filepath.Join(t.TempDir(), "config")
	writeFile(t, cfg, fmt.Sprintf("Host *\n User u\n Port %d\n IdentityFile %s\n UserKnownHostsFile %s\n GlobalKnownHostsFile none\n"+
		" IdentityAgent none\n IdentitiesOnly yes\n", f.Port(), f.key, f.known))
	var args []string
	for i := 0; i < len(target.SSHArgs); i++ {
		if target.SSHArgs[i] == "-F" {
			i++
			continue
		}
		args = append(args, target.SSHArgs[i])
	}
	target.SSHArgs = append([]string{"-F", cfg}, args...)
	return target
}

func TestChainsOfJumpHosts(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 4, nil)
	target := withConfig(t, hosts.target(0), hosts)
	target.SSHArgs = append(target.SSHArgs, "-J",
		fmt.Sprintf("%s,ssh://u@%s:%d,[%s]", address(1), address(2), hosts.Port(), address(3)))
	d := newDialer(t, remote.Options{})
	for range 2 {
		if err := runOnce(t.Context(), d, target, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if got := hosts.Stats().Authenticated; got != 3+2 {
		t.Errorf("%d logins, want one a jump host and one a run", got)
	}
}

func TestAFailedJumpHostIsNamed(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 2, nil)
	target := withConfig(t, hosts.target(0), hosts)
	target.SSHArgs = append(target.SSHArgs, "-J", fmt.Sprintf("127.0.0.1:%d", remotetest.FreePort(t)))
	d := newDialer(t, remote.Options{Retries: -1})
	err := runOnce(t.Context(), d, target, "x")
	if !errors.Is(err, remote.ErrUnreachable) || !strings.Contains(err.Error(), "jump host [127.0.0.1]") {
		t.Error(err)
	}
}

func TestProxyCommandIsUsedAndEnded(t *testing.T) {
	t.Parallel()
	ssh := remotetest.NeedPeer(t, "ssh")
	server := remotetest.StartSSHD(t)
	target := server.Target()
	mark := filepath.Join(t.TempDir(), "mark")
	proxy := fmt.Sprintf("sh -c 'echo %%n-%%r >%s; exec %s -F none -o UserKnownHostsFile=%s -i %s -p %d -W %%h:%%p 127.0.0.1'",
		mark, ssh, server.Known, server.KeyFile, server.Port)
	target.SSHArgs = append(target.SSHArgs, "-o", "ProxyCommand="+proxy)
	c := dialTest(t, remote.Options{}, target)
	if out, err := c.Run(t.Context(), remote.Cmd{Script: "echo x"}); err != nil || string(out.Stdout) != "x\n" {
		t.Errorf("%q, %v", out.Stdout, err)
	}
	if got := readFile(t, mark); got != "127.0.0.1-"+server.User+"\n" {
		t.Errorf("tokens became %q", got)
	}
}

func TestAProxyCommandThatFailsIsReported(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	target := server.Target()
	target.SSHArgs = append(target.SSHArgs, "-o", "ProxyCommand=sh -c 'echo no such cluster >&2; exit 1'")
	d := newDialer(t, remote.Options{Retries: -1})
	start := time.Now()
	err := runOnce(t.Context(), d, target, "x")
	if !errors.Is(err, remote.ErrUnreachable) || !strings.Contains(err.Error(), "no such cluster") {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}
