package remotetest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// connState is one authenticated connection.
type connState struct {
	server   *Server
	host     *Host
	conn     *ssh.ServerConn
	wg       sync.WaitGroup
	sessions atomic.Int32
}

// globalRequests answers keep-alives as sshd does: with a failure, which is an answer all the same.
func (c *connState) globalRequests(reqs <-chan *ssh.Request) {
	for r := range reqs {
		if r.WantReply && !c.host.Fault.IgnoreKeepAlive {
			_ = r.Reply(false, nil)
		}
	}
}

func (c *connState) newChannel(ctx context.Context, ch ssh.NewChannel) {
	if take := c.host.Fault.Channel; take != nil {
		c.wg.Go(func() { take(ctx, ch) })
		return
	}
	switch ch.ChannelType() {
	case "session":
		if n := c.sessions.Add(1); c.host.MaxSessions > 0 && int(n) > c.host.MaxSessions {
			c.sessions.Add(-1)
			_ = ch.Reject(ssh.ConnectionFailed, "open failed")
			return
		}
		c.wg.Go(func() {
			defer c.sessions.Add(-1)
			c.session(ctx, ch)
		})
	case "direct-tcpip":
		c.wg.Go(func() { c.forward(ctx, ch) })
	default:
		_ = ch.Reject(ssh.UnknownChannelType, "unknown channel type")
	}
}

// session serves one session channel: env, pty-req and signal requests, and one exec.
func (c *connState) session(ctx context.Context, nch ssh.NewChannel) {
	ch, reqs, err := nch.Accept()
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer func() { _ = ch.Close() }()
	signals := make(chan string, 16)
	req := &Request{
		User: c.conn.User(), Local: c.conn.LocalAddr(), Env: map[string]string{},
		Stdin: ch, Stdout: ch, Stderr: ch.Stderr(), Signals: signals, Drop: func() { _ = c.conn.Close() },
	}
	started := false
	for r := range reqs {
		ok := false
		begin := func() {} // after the reply: a command that ends at once would close the channel before it
		switch r.Type {
		case "env":
			var kv struct{ Name, Value string }
			if ok = ssh.Unmarshal(r.Payload, &kv) == nil && !started; ok {
				req.Env[kv.Name] = kv.Value
			}
		case "pty-req":
			ok = !started
			req.Pty = true
		case "signal":
			var sig struct{ Name string }
			if ok = ssh.Unmarshal(r.Payload, &sig) == nil; ok {
				offer(signals, sig.Name)
			}
		case "exec":
			var cmd struct{ Command string }
			if ok = ssh.Unmarshal(r.Payload, &cmd) == nil && !started && c.host.Handler != nil; ok {
				started = true
				req.Command = cmd.Command
				c.server.count(func(st *Stats) { st.Sessions++ })
				begin = func() { wg.Go(func() { c.exec(ctx, ch, req) }) }
			}
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		begin()
	}
}

func (c *connState) exec(ctx context.Context, ch ssh.Channel, req *Request) {
	if take := c.host.Fault.Exec; take != nil {
		take(ctx, ch, req)
		return
	}
	finish(ch, c.host.Handler(ctx, req))
}

func offer(c chan<- string, s string) {
	select {
	case c <- s:
	default:
	}
}

// finish ends a channel the way sshd does: EOF, exit-status, close.
func finish(ch ssh.Channel, status int) {
	_ = ch.CloseWrite()
	if status >= 0 {
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
	}
	_ = ch.Close()
}

// forward connects a direct-tcpip channel to a loopback address.
func (c *connState) forward(ctx context.Context, nch ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(nch.ExtraData(), &to); err != nil || !c.host.Forward {
		_ = nch.Reject(ssh.Prohibited, "administratively prohibited")
		return
	}
	addr, err := netip.ParseAddr(to.Host)
	if err != nil || !addr.Unmap().IsLoopback() {
		_ = nch.Reject(ssh.Prohibited, "only loopback addresses")
		return
	}
	var d net.Dialer
	out, err := d.DialContext(ctx, "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		_ = nch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	ch, reqs, err := nch.Accept()
	if err != nil {
		_ = out.Close()
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = out.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { ssh.DiscardRequests(reqs) })
	wg.Go(func() {
		_, _ = io.Copy(out, ch)
		if t, ok := out.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	})
	_, _ = io.Copy(ch, out)
	_ = ch.Close()
	_ = out.Close()
	wg.Wait()
}
