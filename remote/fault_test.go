package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// quick are limits that a test can wait for.
func quick() remote.Options {
	return remote.Options{
		ConnectTimeout: 2 * time.Second, HandshakeTimeout: 500 * time.Millisecond, AuthTimeout: 500 * time.Millisecond,
		CommandTimeout: 30 * time.Second, Retries: -1,
	}
}

func withFault(f remotetest.Fault) func(*remotetest.Host) {
	return func(h *remotetest.Host) { h.Fault = f }
}

func TestFaultsEndInTheDocumentedError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*remotetest.Host)
		opts func(*remote.Options)
		want error
		say  string
	}{
		{"closes at once", withFault(remotetest.Fault{CloseAtOnce: true}), nil, remote.ErrDisconnected, "before authentication"},
		{"hangs after accept", withFault(remotetest.Fault{HangAfterAccept: true}), nil, remote.ErrConnectTimeout, "key exchange"},
		{"hangs in authentication", withFault(remotetest.Fault{HangInAuth: true}), nil, remote.ErrLoginTimeout, "authentication"},
		{"sends garbage", withFault(remotetest.Fault{Garbage: []byte("\x00\xffHTTP/1.1 400\r\n")}), nil, remote.ErrUnreachable, "SSH"},
		{"sends endless lines", withFault(remotetest.Fault{Garbage: []byte("x\r\n")}), nil, nil, ""},
		{"lets nobody in", func(h *remotetest.Host) { h.Users = []string{"other"} }, nil, remote.ErrAuth, "none of 1 keys"},
		{"has another host key", func(h *remotetest.Host) { h.HostKeys = otherKey() }, nil, remote.ErrHostKeyChanged, "it shows"},
		{"refuses sessions", func(h *remotetest.Host) { h.Handler = nil }, nil, remote.ErrDisconnected, ""},
		{"ends the command without a status", func(h *remotetest.Host) { h.Handler = status(-1, "") }, nil, remote.ErrDisconnected, ""},
		{"has a login shell that refuses", func(h *remotetest.Host) { h.Handler = status(1, "This account is not available.\n") }, nil,
			remote.ErrLoginShell, "not available"},
		{"talks without end before the script", func(h *remotetest.Host) { h.Handler = endless }, nil, remote.ErrOutputTooLong, ""},
		{"answers no command", func(h *remotetest.Host) { h.Handler = mute },
			func(o *remote.Options) { o.CommandTimeout = 300 * time.Millisecond }, remote.ErrTimeout, ""},
		{"is silent", func(h *remotetest.Host) { h.Handler = mute },
			func(o *remote.Options) { o.IdleTimeout = 300 * time.Millisecond }, remote.ErrTimeout, "silent"},
		{"answers no keep-alive", func(h *remotetest.Host) { h.Handler, h.Fault.IgnoreKeepAlive = mute, true },
			func(o *remote.Options) { o.KeepAlive = 100 * time.Millisecond }, remote.ErrTimeout, "no longer answers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hosts := startFleet(t, 1, tt.edit)
			opts := quick()
			if tt.opts != nil {
				tt.opts(&opts)
			}
			err := logIn(t, opts, hosts.target(0))
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(fmt.Sprint(err), tt.say) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.say)
			}
		})
	}
}

func otherKey() []ssh.Signer {
	k, err := remotetest.SeededKey("another")
	if err != nil {
		panic(err)
	}
	return []ssh.Signer{k}
}

func status(code int, said string) remotetest.Handler {
	return func(_ context.Context, req *remotetest.Request) int {
		_, _ = io.WriteString(req.Stderr, said)
		return code
	}
}

func endless(_ context.Context, req *remotetest.Request) int {
	for {
		if _, err := io.WriteString(req.Stdout, strings.Repeat("motd ", 1000)); err != nil {
			return 1
		}
	}
}

func mute(ctx context.Context, _ *remotetest.Request) int {
	<-ctx.Done()
	return 0
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 1, nil)
	target := hosts.target(0)
	target.Port = remotetest.FreePort(t)
	if err := logIn(t, quick(), target); !errors.Is(err, remote.ErrUnreachable) || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
	target.Host = "no-such-host.invalid"
	if err := logIn(t, quick(), target); !errors.Is(err, remote.ErrUnreachable) && !errors.Is(err, remote.ErrTimeout) {
		t.Error(err)
	}
}

// TestDropsAtAnyByte cuts the connection after each so many bytes of a whole session. Whatever the byte, the error is
// one that says so; and with retries, hosts that drop only their first connections are never lost.
func TestDropsAtAnyByte(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var total int64
	whole := startFleet(t, 1, withFault(remotetest.Fault{OnByte: func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		total = max(total, n)
	}}))
	if err := logIn(t, quick(), whole.target(0)); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	length := total
	mu.Unlock()
	step := max(1, length/150)
	if testing.Short() {
		step = max(1, length/30)
	}
	for at := int64(1); at < length; at += step {
		hosts := startFleet(t, 1, withFault(remotetest.Fault{DropAfter: at}))
		err := logIn(t, quick(), hosts.target(0))
		if err != nil && !errors.Is(err, remote.ErrDisconnected) {
			t.Errorf("after %d of %d bytes: %v", at, length, err)
		}
		_ = hosts.Close()
	}
}

func TestDropsBeforeAuthenticationAreRetried(t *testing.T) {
	t.Parallel()
	count := remotetest.NewCountdown(3)
	hosts := startFleet(t, 1, func(h *remotetest.Host) { h.Fault.CloseFirst = count })
	if err := logIn(t, remote.Options{}, hosts.target(0)); err != nil {
		t.Error(err)
	}
	count = remotetest.NewCountdown(1 << 30)
	hosts = startFleet(t, 1, func(h *remotetest.Host) { h.Fault.CloseFirst = count })
	if err := logIn(t, remote.Options{Retries: 1}, hosts.target(0)); !errors.Is(err, remote.ErrDisconnected) {
		t.Error(err)
	}
	if got := hosts.Stats().Accepted; got != 2 {
		t.Errorf("%d connections", got)
	}
}

func TestASlowHostIsServed(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 1, withFault(remotetest.Fault{BytesPerSecond: 1024}))
	opts := quick()
	opts.HandshakeTimeout, opts.AuthTimeout, opts.CommandTimeout = time.Minute, time.Minute, time.Minute
	if err := logIn(t, opts, hosts.target(0)); err != nil {
		t.Error(err)
	}
	opts.HandshakeTimeout = 200 * time.Millisecond
	if err := logIn(t, opts, hosts.target(0)); !errors.Is(err, remote.ErrTimeout) {
		t.Errorf("slower than its limit: %v", err)
	}
}

func TestHostKeyPolicies(t *testing.T) {
	t.Parallel()
	hosts := startFleet(t, 2, nil)
	dir := t.TempDir()
	unknown := hosts.target(0)
	unknown.SSHArgs = remotetest.Isolated(filepath.Join(dir, "new", "known_hosts"))
	if err := logIn(t, remote.Options{}, unknown); !errors.Is(err, remote.ErrHostKeyUnknown) {
		t.Errorf("strict: %v", err)
	}
	var heard []string
	accept := remote.Options{HostKeyChecking: "accept-new", Accepted: func(host, fp string) { heard = append(heard, host+" "+fp) }}
	if err := logIn(t, accept, unknown); err != nil {
		t.Errorf("accept-new: %v", err)
	}
	if len(heard) != 1 || !strings.HasPrefix(heard[0], "h0 SHA256:") {
		t.Errorf("heard %q", heard)
	}
	if err := logIn(t, remote.Options{}, unknown); err != nil {
		t.Errorf("strict, once it was accepted: %v", err)
	}
	changed := hosts.target(1)
	wrong, err := remotetest.SeededKey("wrong")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "wrong")
	writeFile(t, file, fmt.Sprintf("[%s]:%d %s", address(1), hosts.Port(), authorized(wrong.PublicKey())))
	changed.SSHArgs = remotetest.Isolated(file)
	if err := logIn(t, accept, changed); !errors.Is(err, remote.ErrHostKeyChanged) {
		t.Errorf("accept-new and a changed key: %v", err)
	}
	if err := logIn(t, remote.Options{HostKeyChecking: "off"}, changed); err != nil {
		t.Errorf("off: %v", err)
	}
	if _, err := remote.NewDialer(remote.Options{HostKeyChecking: "maybe"}); !errors.Is(err, remote.ErrConfig) {
		t.Errorf("a policy that is not known: %v", err)
	}
}

func TestRevokedHostKeysAreRefused(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	for file, want := range map[string]error{
		filepath.Join(server.Dir, "host.pub"): remote.ErrHostKeyRevoked,
		server.KeyFile + ".pub":               nil,
		server.KeyFile:                        remote.ErrConfig,
		filepath.Join(server.Dir, "missing"):  remote.ErrConfig,
	} {
		target := server.Target()
		target.SSHArgs = append(target.SSHArgs, "-o", "RevokedHostKeys="+file)
		if err := logIn(t, remote.Options{HostKeyChecking: "off"}, target); !errors.Is(err, want) || (want == nil && err != nil) {
			t.Errorf("%s: got %v, want %v", filepath.Base(file), err, want)
		}
	}
}

func TestTheKnownKeyTypeIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, hashed := range []bool{false, true} {
		server := remotetest.StartSSHD(t)
		remotetest.KeyGen(t, filepath.Join(server.Dir, "rsa"), "rsa", "-b", "2048")
		server.Addf("sshd_config", "HostKey %s", filepath.Join(server.Dir, "rsa"))
		server.Stop()
		server.Start()
		writeFile(t, server.Known, fmt.Sprintf("[127.0.0.1]:%d %s", server.Port, readFile(t, filepath.Join(server.Dir, "rsa.pub"))))
		if hashed { // with another host's Ed25519 key, so that Ed25519 is tried first
			server.Addf("known_hosts", "other %s", readFile(t, server.KeyFile+".pub"))
			hashKnownHosts(t, server.Known)
		}
		if err := logIn(t, remote.Options{}, server.Target()); err != nil {
			t.Errorf("hashed %v: %v", hashed, err)
		}
	}
}

func TestIPv6AndHostKeyAlias(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("no IPv6: %v", err)
	}
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	_ = l.Close()
	server := remotetest.StartSSHD(t, "ListenAddress ::1")
	key := readFile(t, filepath.Join(server.Dir, "host.pub"))
	target := server.Target()
	target.Host = "::1"
	writeFile(t, server.Known, fmt.Sprintf("[::1]:%d %s", server.Port, key))
	if err := logIn(t, remote.Options{}, target); err != nil {
		t.Error(err)
	}
	alias := filepath.Join(t.TempDir(), "alias")
	writeFile(t, alias, "the-alias "+key)
	target.SSHArgs = append(remotetest.Isolated(alias), "-o", "HostKeyAlias=the-alias")
	if err := logIn(t, remote.Options{}, target); err != nil {
		t.Error(err)
	}
}

// TestNothingLeaks runs all kinds of sessions, good and bad, and compares goroutines and descriptors.
func TestNothingLeaks(t *testing.T) {
	dir := t.TempDir()
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGWINCH) // the goroutine of os/signal is there from its first use on, wherever that is
	defer signal.Stop(heard)
	before := settled(0, 0)
	t.Run("sessions", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		for i, edit := range []func(*remotetest.Host){
			nil, withFault(remotetest.Fault{HangAfterAccept: true}), withFault(remotetest.Fault{HangInAuth: true}),
			withFault(remotetest.Fault{DropAfter: 2500}), withFault(remotetest.Fault{CloseAtOnce: true}),
			func(h *remotetest.Host) { h.Handler = mute }, func(h *remotetest.Host) { h.Handler = endless },
		} {
			hosts := startFleet(t, 2, edit)
			opts := quick()
			opts.CommandTimeout = 300 * time.Millisecond
			d := newDialer(t, opts)
			_ = runOnce(ctx, d, hosts.target(0), "x")
			if i == 0 {
				jumped := withConfig(t, hosts.target(0), hosts)
				jumped.SSHArgs = append(jumped.SSHArgs, "-J", fmt.Sprintf("%s:%d", address(1), hosts.Port()))
				if err := runOnce(ctx, d, jumped, "x"); err != nil {
					t.Error(err)
				}
				c, err := d.Dial(ctx, hosts.target(0))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.StartPayload(ctx, payload("#!/bin/sh\nexec sleep 1000\n", false)); err != nil {
					t.Error(err)
				}
				_ = c.Close() // and the process is never closed
			}
		}
		cancel()
	})
	after := settled(before.goroutines, before.descriptors)
	if after.goroutines > before.goroutines || after.descriptors > before.descriptors {
		buf := make([]byte, 1<<20)
		t.Errorf("before %+v, after %+v\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
	left, err := filepath.Glob(filepath.Join(dir, ".fleetctl-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

type usage struct{ goroutines, descriptors int }

// strandedInTheLibrary counts the goroutines that x/crypto/ssh has forgotten: a channel that is asked for just as its
// connection ends is told of no end. Where the connection lives on, its own goroutines show that something was left open.
func strandedInTheLibrary() int {
	buf := make([]byte, 4<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "\ngolang.org/x/crypto/ssh.(*mux).openChannel(")
}

// settled measures until nothing shrinks any more, or both are down to the goal.
func settled(goroutines, descriptors int) usage {
	var u usage
	eventually(func() bool {
		fds, _ := os.ReadDir("/proc/self/fd")
		u = usage{runtime.NumGoroutine() - strandedInTheLibrary(), len(fds)}
		return goroutines == 0 || (u.goroutines <= goroutines && u.descriptors <= descriptors)
	})
	return u
}
