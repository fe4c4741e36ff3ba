package remote_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// cutter is a network between us and a real sshd, which breaks after so many bytes in one direction.
type cutter struct {
	listener net.Listener
	to       string // the server's address
	how      string // cut, reset, freeze; "": it works
	at       int64  // bytes
	upwards  bool   // counted are those to the server; else those from it

	mu     sync.Mutex
	up     int64 // bytes to the server
	down   int64
	opened []net.Conn
	wg     sync.WaitGroup
}

func startCutter(t testing.TB, port int, how string, upwards bool, at int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, to: "127.0.0.1:" + strconv.Itoa(port), how: how, at: at, upwards: upwards}
	c.wg.Go(c.accept)
	return c
}

func (c *cutter) port() int { return c.listener.Addr().(*net.TCPAddr).Port }

func (c *cutter) close() {
	_ = c.listener.Close()
	c.mu.Lock()
	for _, conn := range c.opened {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

func (c *cutter) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		c.mu.Lock()
		c.opened = append(c.opened, in, out)
		c.mu.Unlock()
		frozen := make(chan struct{})
		var once sync.Once
		freeze := func() { once.Do(func() { close(frozen) }) }
		c.wg.Go(func() { c.carry(in, out, &c.up, c.upwards, frozen, freeze) })
		c.wg.Go(func() { c.carry(out, in, &c.down, !c.upwards, frozen, freeze) })
	}
}

// carry passes bytes on until the network breaks.
func (c *cutter) carry(from, to net.Conn, count *int64, breaks bool, frozen <-chan struct{}, freeze func()) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		c.mu.Lock()
		left := c.at - *count
		*count += int64(n)
		c.mu.Unlock()
		broken := breaks && c.how != "" && int64(n) >= left
		if broken {
			n = int(max(left, 0))
		}
		select {
		case <-frozen:
			return // both stay open
		default:
		}
		if _, writeErr := to.Write(buf[:n]); writeErr != nil || err != nil && !broken {
			_ = from.Close()
			_ = to.Close()
			return
		}
		if broken {
			c.breakDown(from, to, freeze)
			return
		}
	}
}

func (c *cutter) breakDown(from, to net.Conn, freeze func()) {
	switch c.how {
	case "freeze":
		freeze()
		return
	case "reset":
		for _, conn := range []net.Conn{from, to} {
			if t, ok := conn.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
		}
	}
	_ = from.Close()
	_ = to.Close()
}

// allOffsets makes TestAConnectionBreaksAtAnyByte try every byte (CUT_ALL=1, hours) or every N-th (CUT_ALL=N), each in one of the
// ways by turns; CUT_SEED=N tries those of an earlier run again, or where the turns begin.
const allOffsets = "CUT_ALL"

// A connection to a real sshd breaks at any byte of a whole run, in both directions. The error says that it broke, never
// that the host answered wrongly, and nothing stays on the host.
func TestAConnectionBreaksAtAnyByte(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHDInNamespace(t, "mount -t tmpfs -o mode=1777 none /tmp", "MaxStartups 1000", "MaxSessions 1000")
	target := loginAs(t, server, remotetest.UserConfig{Sudoers: "USER ALL=(ALL) NOPASSWD: ALL"})
	whole := startCutter(t, server.Port, "", false, 0)
	if err := talkThrough(t.Context(), t, whole, target, server); err != nil {
		t.Fatal(err)
	}
	whole.close()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CUT_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	every, err := strconv.ParseInt(cmp.Or(os.Getenv(allOffsets), "0"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a run takes %d bytes up and %d down; CUT_SEED=%d", whole.up, whole.down, seed)
	slots := make(chan struct{}, 24) // a third of them waits, frozen
	var wg sync.WaitGroup
	for _, b := range breaks(seed, every, whole.up, whole.down) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c := startCutter(t, server.Port, b.how, b.upwards, b.at)
			defer c.close()
			b.check(t, talkThrough(t.Context(), t, c, target, server))
		})
	}
	wg.Wait()
	if !eventually(func() bool { return len(remotetest.Processes(target.User)) == 0 }) {
		t.Errorf("%s still runs %v", target.User, remotetest.Processes(target.User))
	}
	whole = startCutter(t, server.Port, "", false, 0)
	defer whole.close()
	target.Port = whole.port()
	c := dialTest(t, remote.Options{HostKeyChecking: "off"}, target)
	if !eventually(func() bool {
		out, err := c.Run(t.Context(), remote.Cmd{Script: "ls -d /tmp/.fleetctl-* 2>/dev/null"})
		return err == nil && len(out.Stdout) == 0
	}) {
		t.Error("a helper is left on the host")
	}
}

type broken struct {
	how     string
	upwards bool
	at      int64
}

// breaks are the places where connections break: some of each kind, or one of every so many bytes.
func breaks(seed uint64, every, up, down int64) (out []broken) {
	r := rand.New(rand.NewPCG(seed, 0))
	ways := []string{"cut", "reset", "freeze"}
	for _, upwards := range []bool{false, true} {
		length := down
		if upwards {
			length = up
		}
		for at := first(seed, every); every > 0 && at < length; at += every {
			out = append(out, broken{ways[(uint64(len(out))+seed)%3], upwards, at})
		}
		for k := 0; every == 0 && k < 6*len(ways); k++ {
			out = append(out, broken{ways[k%3], upwards, r.Int64N(length)})
		}
	}
	return out
}

// first is where every N-th byte begins: those of CUT_SEED=0 to N-1 are all bytes.
func first(seed uint64, every int64) int64 {
	if every == 0 {
		return 0
	}
	return int64(seed % uint64(every)) //nolint:gosec // both are small
}

func isLost(err error) bool {
	return errors.Is(err, remote.ErrDisconnected) || errors.Is(err, remote.ErrTimeout)
}

func (b broken) check(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil: // what was left was not needed any more
	case isLost(err):
	default:
		t.Errorf("%s after %d bytes (to the host: %v): %v", b.how, b.at, b.upwards, err)
	}
}

// talkThrough does what a scan does, over a network.
func talkThrough(ctx context.Context, t testing.TB, c *cutter, target remote.Target, server *remotetest.SSHD) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	target.Port = c.port()
	target.SSHArgs = append(remotetest.Isolated(server.Known), "-o", "HostKeyAlias=[127.0.0.1]:"+strconv.Itoa(server.Port))
	d, err := remote.NewDialer(remote.Options{
		HandshakeTimeout: 2 * time.Second, AuthTimeout: 2 * time.Second, KeepAlive: time.Second, Retries: -1,
		HostKeyChecking: "off", Logf: func(string, ...any) {},
	})
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	conn, err := d.Dial(ctx, target)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	out, err := conn.Run(ctx, remote.Cmd{Script: "uname -s"})
	if err != nil || string(out.Stdout) != "Linux\n" || out.ExitCode != 0 {
		return errors.Join(err, checkSaid("Linux\n", string(out.Stdout), err))
	}
	p, err := conn.StartPayload(ctx, payload("#!/bin/sh\nwhile read -r l; do printf '%0300d %s\\n' 0 \"$l\"; done\n", true))
	if err != nil {
		return err
	}
	for i := range 3 {
		if _, err := fmt.Fprintf(p.Stdin, "question %d\n", i); err != nil {
			return err
		}
		answer := make([]byte, 300+len(" question 0\n"))
		if _, err := io.ReadFull(p.Stdout, answer); err != nil {
			if _, again := io.WriteString(p.Stdin, "one more\n"); again != nil && !isLost(again) {
				return again
			}
			return err
		}
	}
	_ = p.Stdin.Close()
	if _, err := io.Copy(io.Discard, p.Stdout); err != nil {
		return err
	}
	_, _, err = p.Wait()
	return err
}

func checkSaid(want, got string, err error) error {
	if err != nil || got == want {
		return nil
	}
	return fmt.Errorf("it said %q", got)
}
