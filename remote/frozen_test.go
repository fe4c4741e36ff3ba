package remote_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// icebox is a TCP proxy that can be frozen: its connections stay open, and nothing comes through any more.
type icebox struct {
	port int

	mu     sync.Mutex
	frozen bool
	conns  []net.Conn
}

func startIcebox(t *testing.T, to int) *icebox {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &icebox{}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		b.port = a.Port
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
			if err != nil {
				_ = c.Close()
				continue
			}
			b.mu.Lock()
			b.conns = append(b.conns, c, out)
			b.mu.Unlock()
			wg.Go(func() { b.pass(c, out) })
			wg.Go(func() { b.pass(out, c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.mu.Lock()
		for _, c := range b.conns {
			_ = c.Close()
		}
		b.mu.Unlock()
		wg.Wait()
	})
	return b
}

func (b *icebox) pass(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		b.mu.Lock()
		frozen := b.frozen
		b.mu.Unlock()
		if frozen {
			return // both stay open
		}
		if err != nil {
			_ = to.Close()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			_ = from.Close()
			return
		}
	}
}

func (b *icebox) freeze() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen = true
}

// frozenWay is a way to a host over something that freezes.
type frozenWay struct {
	name string
	// target is how the host is reached; box is in front of what freezes.
	target func(t *testing.T, jump *remotetest.SSHD, box *icebox) remote.Target
}

// throughBox is an ssh_config by which hop1 lies behind the box and hop2 does not.
func throughBox(t *testing.T, jump *remotetest.SSHD, box *icebox) string {
	t.Helper()
	cfg, known := filepath.Join(t.TempDir(), "config"), filepath.Join(t.TempDir(), "known_hosts")
	writeFile(t, known, "* "+readFile(t, filepath.Join(jump.Dir, "host.pub")))
	writeFile(t, cfg, fmt.Sprintf("Host hop1\n Port %d\nHost hop2\n Port %d\nHost hop1 hop2\n HostName 127.0.0.1\nHost *\n"+
		" User %s\n IdentityFile %s\n UserKnownHostsFile %s\n GlobalKnownHostsFile none\n IdentityAgent none\n IdentitiesOnly yes\n",
		box.port, jump.Port, jump.User, jump.KeyFile, known))
	return cfg
}

func frozenWays() []frozenWay {
	via := func(args ...string) func(*testing.T, *remotetest.SSHD, *icebox) remote.Target {
		return func(t *testing.T, jump *remotetest.SSHD, box *icebox) remote.Target {
			target := jump.Target()
			cfg := throughBox(t, jump, box)
			target.SSHArgs = []string{"-F", cfg}
			for _, a := range args {
				target.SSHArgs = append(target.SSHArgs, strings.ReplaceAll(a, "CONFIG", cfg))
			}
			return target
		}
	}
	return []frozenWay{
		{"a jump host", via("-J", "hop1")},
		{"the first of two jump hosts", via("-J", "hop1,hop2")},
		{"the last of two jump hosts", via("-J", "hop2,hop1")},
		{"a ProxyCommand", via("-o", "ProxyCommand=ssh -F CONFIG -W %h:%p hop1")},
		{"a ProxyCommand that does not end", via("-o", "ProxyCommand=sh -c \"trap '' TERM; ssh -F CONFIG -W %h:%p hop1; sleep 1000\"")},
		{"nothing between", func(t *testing.T, jump *remotetest.SSHD, box *icebox) remote.Target {
			target := jump.Target()
			target.Port = box.port
			target.SSHArgs = []string{"-F", throughBox(t, jump, box)}
			return target
		}},
	}
}

// TestCloseEndsOverWhatIsFrozen closes connections, idle and busy ones, and gives up logins, after whatever lies between has
// frozen. Nothing of them is left.
func TestCloseEndsOverWhatIsFrozen(t *testing.T) {
	before := settled(0, 0)
	t.Run("ways", func(t *testing.T) {
		jump := remotetest.StartSSHD(t)
		for _, way := range frozenWays() {
			t.Run(way.name, func(t *testing.T) {
				t.Parallel()
				box := startIcebox(t, jump.Port)
				closeFrozen(t, way.target(t, jump, box), box)
			})
		}
	})
	after := settled(before.goroutines, before.descriptors)
	if after.goroutines > before.goroutines || after.descriptors > before.descriptors {
		buf := make([]byte, 1<<20)
		t.Errorf("before %+v, after %+v\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
}

func closeFrozen(t *testing.T, target remote.Target, box *icebox) {
	t.Helper()
	d, err := remote.NewDialer(remote.Options{KeepAlive: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	idle, busy := dialed(t, d, target), dialed(t, d, target)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, err := busy.Start(ctx, remote.Cmd{Script: "while read -r l; do :; done", MaxOutput: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	writing, half := make(chan struct{}), make(chan struct{})
	box.freeze()
	go func() {
		defer close(writing)
		fill(p.Stdin)
	}()
	go func() {
		defer close(half)
		_, _ = d.Dial(ctx, target)
	}()
	time.Sleep(200 * time.Millisecond) // so that the writer is stuck and the login has begun
	cancel()
	within(t, "a login that is given up", func() { <-half })
	within(t, "Close of a process", func() { _ = p.Close() })
	within(t, "Close of an idle connection", func() { _ = idle.Close() })
	within(t, "Close of a busy connection", func() { _ = busy.Close() })
	within(t, "the write", func() { <-writing })
	within(t, "Close of the dialer", func() { _ = d.Close() })
}

func dialed(t *testing.T, d *remote.Dialer, target remote.Target) *remote.Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fill writes until that fails.
func fill(w io.Writer) {
	for {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

// within runs what must not hang.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("%s hangs\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}

// TestSilentHostsHoldUpNobodyBehindAJumpHost starts hosts that accept and say nothing, more than one sshd is asked for at
// once, and reaches the others while they hang.
func TestSilentHostsHoldUpNobodyBehindAJumpHost(t *testing.T) {
	t.Parallel()
	const silent, healthy = 24, 6
	quiet := remotetest.StartFleet(t)
	jump := remotetest.StartSSHD(t)
	d := newDialer(t, remote.Options{HandshakeTimeout: time.Hour, AuthTimeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var others []remote.Target
	var args []string
	for i := range silent + healthy {
		h := remotetest.FleetHost{Handler: func(context.Context, *remotetest.Request) int { return 0 }}
		if i < silent {
			h.Silent = func() bool { return true }
		}
		target := quiet.Add(fmt.Sprint(i), "u", h)
		if args == nil {
			args = viaSSHD(t, jump, target).SSHArgs
		}
		target.SSHArgs = args
		if i >= silent {
			others = append(others, target)
			continue
		}
		wg.Go(func() {
			if c, err := d.Dial(ctx, target); err == nil {
				_ = c.Close()
				t.Error("a silent host was reached")
			}
		})
	}
	eventually(func() bool { return quiet.Server().Stats().Accepted == silent })
	if got := quiet.Server().Stats().Accepted; got != silent {
		t.Errorf("only %d of %d silent hosts are asked at once", got, silent)
	}
	var reached sync.WaitGroup
	for _, target := range others {
		reached.Go(func() {
			limited, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			c, err := d.Dial(limited, target)
			if err != nil {
				t.Errorf("a healthy host: %v", err)
				return
			}
			_ = c.Close()
		})
	}
	reached.Wait()
}

// TestOneSSHDBehindAJumpHostGetsEightAtOnce counts connections that are not logged in, to one address.
func TestOneSSHDBehindAJumpHostGetsEightAtOnce(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 1, withFault(remotetest.Fault{HangAfterAccept: true}))
	jump := remotetest.StartSSHD(t)
	target := viaSSHD(t, jump, hosts.target(0))
	d := newDialer(t, remote.Options{HandshakeTimeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() { _, _ = d.Dial(ctx, target) })
	}
	eventually(func() bool { return hosts.Stats().Accepted >= 8 })
	time.Sleep(500 * time.Millisecond) // for a ninth
	if got := hosts.Stats().Accepted; got != 8 {
		t.Errorf("%d at once", got)
	}
	cancel()
	wg.Wait()
}

// TestWaitingForOthersDoesNotCount gives each of many logins to one slow sshd a limit that all of them together break.
func TestWaitingForOthersDoesNotCount(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 1, func(h *remotetest.Host) { h.Fault.BytesPerSecond = 3000 })
	jump := remotetest.StartSSHD(t)
	target := viaSSHD(t, jump, hosts.target(0))
	d := newDialer(t, remote.Options{JumpDials: 1, Retries: -1})
	first := dialed(t, d, target) // the jump host, too
	_ = first.Close()
	start := time.Now()
	_ = dialed(t, d, target).Close()
	limit := 5 * time.Since(start) // of one login
	var wg sync.WaitGroup
	for range 9 {
		wg.Go(func() {
			ctx, cancel := remote.WithLimit(t.Context(), limit)
			defer cancel()
			c, err := d.Dial(ctx, target)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	wg.Wait()
}
