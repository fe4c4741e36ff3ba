package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// jumpsOfHostile are healthy hosts before the hostile ones, for others to be reached through.
const jumpsOfHostile = 2

// startHostile starts healthy hosts, then one of each behaviour.
func startHostile(t testing.TB, behaviours []remotetest.Behaviour) *fleet {
	t.Helper()
	dir := t.TempDir()
	f := &fleet{key: filepath.Join(dir, "id"), known: filepath.Join(dir, "known_hosts")}
	remotetest.KeyGen(t, f.key, "ed25519")
	user := publicKey(t, f.key)
	shell := remotetest.Shell(remotetest.ShellConfig{Dir: dir})
	key, err := remotetest.SeededKey("hostile")
	if err != nil {
		t.Fatal(err)
	}
	index := map[string]int{}
	for i := range jumpsOfHostile + len(behaviours) {
		index[address(i)] = i
	}
	server, err := remotetest.Start(remotetest.Config{Addr: "0.0.0.0:0", HostFor: func(a netip.Addr) (*remotetest.Host, error) {
		i, ok := index[a.String()]
		if !ok {
			return nil, errors.New("no such host")
		}
		h := &remotetest.Host{
			HostKeys: []ssh.Signer{key}, AuthorizedKeys: []ssh.PublicKey{user}, Handler: shell, Forward: true,
		}
		if i >= jumpsOfHostile {
			behaviours[i-jumpsOfHostile].Make(h)
		}
		return h, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	f.Server = server
	writeFile(t, f.known, fmt.Sprintf("[127.1.*]:%d %s", f.Port(), authorized(key.PublicKey())))
	return f
}

// ways are how hosts are reached.
func ways(f *fleet) map[string][]string {
	first, second := fmt.Sprintf("%s:%d", address(0), f.Port()), fmt.Sprintf("%s:%d", address(1), f.Port())
	return map[string][]string{
		"direct": nil, "jump": {"-J", first}, "chain": {"-J", first + "," + second},
		"ProxyCommand": {"-o", "ProxyCommand=busybox nc %h %p"},
	}
}

var errLies = errors.New("not what was asked for")

// visit does with a host all that can be done with one. An error is that of the first thing that failed.
func visit(ctx context.Context, d *remote.Dialer, target remote.Target) error {
	c, err := d.Dial(ctx, target)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	out, runErr := c.Run(ctx, remote.Cmd{Script: "echo x"})
	if runErr == nil && string(out.Stdout) != "x\n" {
		runErr = &remote.Error{Kind: errLies, Err: fmt.Errorf("it said %q", remote.Cut(string(out.Stdout), 100))}
	}
	p, err := c.StartPayload(ctx, big(20))
	if err != nil {
		return errors.Join(runErr, err)
	}
	_ = p.Stdin.Close()
	_, readErr := io.Copy(io.Discard, p.Stdout)
	_, _, waitErr := p.Wait()
	return errors.Join(runErr, readErr, waitErr, p.Close())
}

// hostileLimits are limits that a test can wait for.
func hostileLimits() remote.Options {
	return remote.Options{
		ConnectTimeout: 5 * time.Second, HandshakeTimeout: 1500 * time.Millisecond, AuthTimeout: 1500 * time.Millisecond, Retries: -1, JumpDials: 32,
		Logf: func(string, ...any) {},
	}
}

// Whatever hosts do: a visit ends, no goroutine and no descriptor stays, and hosts that are only odd are served.
func TestHostileHostsAreBounded(t *testing.T) {
	remotetest.NeedPeer(t, "busybox")
	behaviours := remotetest.Behaviours()
	if len(behaviours) < 40 {
		t.Fatalf("%d behaviours", len(behaviours))
	}
	_ = startHostile(t, nil).Close() // the runtime opens descriptors of its own with the first connection
	before := settled(0, 0)
	t.Run("visits", func(t *testing.T) {
		hosts := startHostile(t, behaviours)
		for way, args := range ways(hosts) {
			t.Run(way, func(t *testing.T) {
				t.Parallel()
				visitAll(t, hosts, behaviours, args)
			})
		}
		t.Run("jump hosts", func(t *testing.T) {
			t.Parallel()
			visitThrough(t, remotetest.JumpBehaviours())
		})
	})
	after := settled(before.goroutines, before.descriptors)
	if after.goroutines > before.goroutines || after.descriptors > before.descriptors {
		buf := make([]byte, 1<<20)
		t.Errorf("before %+v, after %+v\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
}

func visitAll(t *testing.T, hosts *fleet, behaviours []remotetest.Behaviour, args []string) {
	d, patient := newDialer(t, hostileLimits()), newDialer(t, remote.Options{Logf: func(string, ...any) {}})
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i, b := range behaviours {
		d := d
		if b.Fine {
			d = patient
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			target := hosts.target(jumpsOfHostile + i)
			if len(args) > 0 && args[0] == "-J" {
				target = withConfig(t, target, hosts)
			}
			target.SSHArgs = append(target.SSHArgs, args...)
			target.Password = "secret"
			checkVisit(t, d, target, b)
		})
	}
	wg.Wait()
}

// visitThrough visits a healthy host through each of the jump hosts.
func visitThrough(t *testing.T, behaviours []remotetest.Behaviour) {
	hosts := startHostile(t, behaviours)
	d := newDialer(t, hostileLimits())
	var wg sync.WaitGroup
	for i, b := range behaviours {
		target := withConfig(t, hosts.target(0), hosts)
		target.SSHArgs = append(target.SSHArgs, "-J", fmt.Sprintf("%s:%d", address(jumpsOfHostile+i), hosts.Port()))
		wg.Go(func() { checkVisit(t, d, target, b) })
	}
	wg.Wait()
}

// visitBound is when a visit hangs: its own limits end it after a few seconds.
const visitBound = time.Minute

func checkVisit(t *testing.T, d *remote.Dialer, target remote.Target, b remotetest.Behaviour) {
	limit := 3 * time.Second
	if b.Fine {
		limit = visitBound - 5*time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- visit(ctx, d, target) }()
	select {
	case err := <-done:
		var own *remote.Error
		switch {
		case b.Fine && err != nil:
			t.Errorf("%s: %v", b.Name, err)
		case b.Race && err == nil:
		case !b.Fine && (!errors.As(err, &own) && !errors.Is(err, context.DeadlineExceeded)):
			t.Errorf("%s: %v after %s is no error of ours", b.Name, err, time.Since(began))
		case err != nil && len(err.Error()) > 8000:
			t.Errorf("%s: an error of %d bytes", b.Name, len(err.Error()))
		case err != nil && strings.ContainsRune(err.Error(), '\x1b'):
			t.Errorf("%s: an error with a control character: %q", b.Name, err)
		}
		t.Logf("%s: %.1f s: %s", b.Name, time.Since(began).Seconds(), remote.Cut(fmt.Sprint(err), 200))
	case <-time.After(visitBound):
		buf := make([]byte, 1<<20)
		t.Errorf("%s: hangs\n%s", b.Name, buf[:runtime.Stack(buf, true)])
	}
}
