package remotetest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote"
)

// FleetHost is one host of a Fleet.
type FleetHost struct {
	Handler Handler
	Users   []string     // who may log in, with the fleet's key; nil: anybody
	Down    func() bool  // closes each connection before a byte is sent while it says so; nil: never
	Silent  func() bool  // accepts and says nothing while it says so; nil: never
	Fault   func() Fault // of each connection; nil: none
}

// Fleet serves many hosts on one listener, each at an address of its own in 127/8. One client key opens them all, and
// a known_hosts file has their keys. Its zero value is of no use: see StartFleet.
type Fleet struct {
	t      testing.TB
	server *Server
	key    string // the client's private key file
	known  string // known_hosts
	public ssh.PublicKey

	mu    sync.Mutex
	hosts map[netip.Addr]fleetMember
	next  atomic.Uint32
}

type fleetMember struct {
	host FleetHost
	key  ssh.Signer
	odd  *Behaviour
}

// StartFleet starts a fleet without hosts; it ends with the test.
func StartFleet(t testing.TB) *Fleet {
	t.Helper()
	dir := t.TempDir()
	f := &Fleet{t: t, key: filepath.Join(dir, "id"), known: filepath.Join(dir, "known_hosts"), hosts: map[netip.Addr]fleetMember{}}
	if err := f.makeKey(); err != nil {
		t.Fatal(err)
	}
	write(t, f.known, "", 0o600)
	server, err := Start(Config{Addr: "0.0.0.0:0", HostFor: f.host})
	if err != nil {
		t.Fatal(err)
	}
	f.server = server
	t.Cleanup(func() { _ = server.Close() })
	return f
}

func (f *Fleet) makeKey() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("remotetest: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "fleet")
	if err != nil {
		return fmt.Errorf("remotetest: %w", err)
	}
	if f.public, err = ssh.NewPublicKey(public); err != nil {
		return fmt.Errorf("remotetest: %w", err)
	}
	return os.WriteFile(f.key, pem.EncodeToMemory(block), 0o600)
}

// Add adds a host and returns how to reach it as user. Dialers read known_hosts once: add hosts before they dial.
func (f *Fleet) Add(name, user string, h FleetHost) remote.Target {
	f.t.Helper()
	key, err := SeededKey(name)
	if err != nil {
		f.t.Fatal(err)
	}
	n := f.next.Add(1)
	addr := netip.AddrFrom4([4]byte{127, byte(1 + n>>16), byte(n >> 8), byte(n)})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts[addr] = fleetMember{host: h, key: key}
	file, err := os.OpenFile(f.known, os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(file, "[%s]:%d %s", addr, f.server.Port(), ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return remote.Target{
		Name: name, Host: addr.String(), Port: f.server.Port(), User: user, PrivateKeyFile: f.key, SSHArgs: Isolated(f.known),
	}
}

// Break lets a host of the fleet behave so from its next connection on.
func (f *Fleet) Break(target remote.Target, b Behaviour) {
	f.t.Helper()
	addr, err := netip.ParseAddr(target.Host)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.hosts[addr]
	m.odd = &b
	f.hosts[addr] = m
}

// KeyFile is the private key that opens every host.
func (f *Fleet) KeyFile() string { return f.key }

// KnownHosts is the file with the keys of all hosts.
func (f *Fleet) KnownHosts() string { return f.known }

// Server is the server behind the fleet, for its counts and to drop all connections.
func (f *Fleet) Server() *Server { return f.server }

func (f *Fleet) host(local netip.Addr) (*Host, error) {
	f.mu.Lock()
	m, ok := f.hosts[local]
	f.mu.Unlock()
	if !ok {
		return nil, errors.New("no host at " + local.String())
	}
	fault := Fault{}
	if m.host.Fault != nil {
		fault = m.host.Fault()
	}
	fault.CloseAtOnce = fault.CloseAtOnce || says(m.host.Down)
	fault.HangAfterAccept = fault.HangAfterAccept || says(m.host.Silent)
	h := &Host{
		HostKeys: []ssh.Signer{m.key}, Users: m.host.Users, AuthorizedKeys: []ssh.PublicKey{f.public}, Handler: m.host.Handler,
		Fault: fault,
	}
	if m.odd != nil {
		m.odd.Make(h)
	}
	return h, nil
}

func says(f func() bool) bool { return f != nil && f() }
