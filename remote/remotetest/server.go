package remotetest

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Config of a Server.
type Config struct {
	Addr    string                                // host:port to listen on; default 127.0.0.1:0; 0.0.0.0 serves all of 127/8
	Listen  net.Listener                          // used instead of Addr, and closed by Close
	Host    Host                                  // what every local address is, unless HostFor says otherwise
	HostFor func(local netip.Addr) (*Host, error) // the host at a local address; an error closes the connection
	Logf    func(format string, args ...any)      // nil: silent
}

// Host is one SSH host that a Server plays. Everything that is not set is refused.
type Host struct {
	HostKeys       []ssh.Signer    // at least one; certificates too
	Users          []string        // who may log in; nil: anybody
	AuthorizedKeys []ssh.PublicKey // who may log in with a key
	UserCAs        []ssh.PublicKey // who may certify user keys
	Password       string          // the password; "": passwords are refused
	Keyboard       bool            // ask for Password by keyboard-interactive instead
	MaxAuthTries   int             // as sshd's; default 6
	MaxSessions    int             // session channels a connection; 0: no limit
	Banner         string          // sent before authentication
	Handler        Handler         // runs commands; nil refuses every one
	Forward        bool            // allow direct-tcpip to loopback addresses, as a jump host does
	Fault          Fault
}

// Handler runs one exec request and returns its exit status (0 to 255), or a negative number to end the channel without
// one. ctx ends when the channel or the connection does.
type Handler func(ctx context.Context, req *Request) int

// Request is one exec request.
type Request struct {
	Command string
	User    string
	Local   net.Addr          // the address that the client dialled
	Env     map[string]string // of "env" requests
	Pty     bool              // a pty was asked for (there is none)
	Stdin   io.Reader         // ends at the client's EOF
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan string // names without SIG, of "signal" requests
	Drop    func()        // ends the whole connection, as a reboot does
}

// Server is a running SSH server.
type Server struct {
	cfg      Config
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	stats Stats
}

// Stats counts what a Server saw.
type Stats struct {
	Accepted      int // TCP connections
	Authenticated int // SSH connections that logged in
	Sessions      int // exec requests
	Open          int // TCP connections now
}

// Start listens and serves until Close.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if len(cfg.Host.HostKeys) == 0 && cfg.HostFor == nil {
		return nil, errors.New("remotetest: a host needs a host key")
	}
	l := cfg.Listen
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", cfg.Addr); err != nil {
			return nil, fmt.Errorf("remotetest: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cfg: cfg, listener: l, ctx: ctx, cancel: cancel, conns: map[net.Conn]struct{}{}}
	s.wg.Go(s.accept)
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Port is the TCP port that the server listens on.
func (s *Server) Port() int {
	if a, ok := s.listener.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// Stats returns what was counted so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Open = len(s.conns)
	return st
}

// Drop closes every connection, as a reboot does; the server goes on listening.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Close ends the listener and every connection, and waits until all handlers have returned.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.cancel()
	s.Drop()
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) logf(format string, args ...any) {
	if s.cfg.Logf != nil {
		s.cfg.Logf(format, args...)
	}
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors: they come back
			continue
		}
		s.track(c)
		s.wg.Go(func() {
			defer s.forget(c)
			if err := s.serve(c); err != nil {
				s.logf("%s: %v", c.RemoteAddr(), err)
			}
		})
	}
}

func (s *Server) track(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	s.stats.Accepted++
	if s.ctx.Err() != nil {
		_ = c.Close()
	}
}

func (s *Server) forget(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) count(add func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add(&s.stats)
}

// host finds out which host a connection is meant for. Only loopback is served, whatever the listener is bound to.
func (s *Server) host(c net.Conn) (*Host, error) {
	ap, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return nil, err
	}
	local := ap.Addr().Unmap()
	if !local.IsLoopback() {
		return nil, fmt.Errorf("refused: %s is not a loopback address", local)
	}
	if s.cfg.HostFor == nil {
		return &s.cfg.Host, nil
	}
	return s.cfg.HostFor(local)
}

// serve serves one TCP connection to its end.
func (s *Server) serve(c net.Conn) error {
	h, err := s.host(c)
	if err != nil {
		return err
	}
	nc, ok := h.Fault.apply(s.ctx, c)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	conn, chans, reqs, err := ssh.NewServerConn(&readWatch{nc, cancel}, h.serverConfig(ctx, nc))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	s.count(func(st *Stats) { st.Authenticated++ })

	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	cs := &connState{server: s, host: h, conn: conn}
	defer cs.wg.Wait()
	defer cancel()
	cs.wg.Go(func() { cs.globalRequests(reqs) })
	if h.Fault.Connected != nil {
		cs.wg.Go(func() { h.Fault.Connected(ctx, conn) })
	}
	for ch := range chans {
		cs.newChannel(ctx, ch)
	}
	return nil
}

// readWatch tells that the client has gone.
type readWatch struct {
	net.Conn
	gone func()
}

func (c *readWatch) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.gone()
	}
	return n, err
}

// serverConfig builds what NewServerConn needs. ctx ends authentication faults.
func (h *Host) serverConfig(ctx context.Context, c net.Conn) *ssh.ServerConfig {
	cfg := &ssh.ServerConfig{MaxAuthTries: h.MaxAuthTries}
	if h.Banner != "" {
		cfg.BannerCallback = func(ssh.ConnMetadata) string { return h.Banner }
	}
	if len(h.AuthorizedKeys)+len(h.UserCAs) > 0 {
		cfg.PublicKeyCallback = func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			h.Fault.inAuth(ctx)
			return h.checkKey(c, key)
		}
	}
	if h.Password != "" && !h.Keyboard {
		cfg.PasswordCallback = func(c ssh.ConnMetadata, pw []byte) (*ssh.Permissions, error) {
			h.Fault.inAuth(ctx)
			return nil, h.checkPassword(c.User(), string(pw))
		}
	}
	if h.Password != "" && h.Keyboard {
		cfg.KeyboardInteractiveCallback = h.askPassword
	}
	for _, k := range h.HostKeys {
		cfg.AddHostKey(k)
	}
	if h.Fault.Config != nil {
		h.Fault.Config(ctx, c, cfg)
	}
	return cfg
}

func (h *Host) userAllowed(user string) bool { return h.Users == nil || slices.Contains(h.Users, user) }

func (h *Host) checkKey(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if !h.userAllowed(c.User()) {
		return nil, fmt.Errorf("no user %q", c.User())
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		checker := ssh.CertChecker{IsUserAuthority: func(ca ssh.PublicKey) bool { return contains(h.UserCAs, ca) }}
		return checker.Authenticate(c, cert)
	}
	if !contains(h.AuthorizedKeys, key) {
		return nil, errors.New("key is not authorized")
	}
	return nil, nil
}

func (h *Host) checkPassword(user, password string) error {
	if !h.userAllowed(user) || subtle.ConstantTimeCompare([]byte(password), []byte(h.Password)) != 1 {
		return errors.New("wrong password")
	}
	return nil
}

func (h *Host) askPassword(c ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	answers, err := ask("", "", []string{"Password: "}, []bool{false})
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, errors.New("no answer")
	}
	return nil, h.checkPassword(c.User(), answers[0])
}

func contains(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) })
}
