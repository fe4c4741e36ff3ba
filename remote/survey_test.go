package remote

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh/agent"
)

func TestKnowsHost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	known := filepath.Join(dir, "known_hosts")
	const key = " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5ArcRQ8tHhCtLcBBLVWYpqkQRfUOIOCGSfhUWB7OQ7\n"
	lines := "web-01" + key + "[web-02]:2222" + key + "@cert-authority *.example.com" + key
	if err := os.WriteFile(known, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte("UserKnownHostsFile "+known+"\nGlobalKnownHostsFile none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := NewDialer(Options{SSHConfig: config})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for _, tt := range []struct {
		host string
		port int
		want bool
	}{{"web-01", 22, true}, {"web-02", 2222, true}, {"web-02", 22, false}, {"a.example.com", 22, true}, {"web-03", 22, false}} {
		if got, err := d.KnowsHost(t.Context(), Target{Name: "x", Host: tt.host, Port: tt.port}); err != nil || got != tt.want {
			t.Errorf("%s:%d: %v, %v", tt.host, tt.port, got, err)
		}
	}
}

func TestAgentKeys(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	if _, err := AgentKeys(t.Context()); !errors.Is(err, ErrNoAgent) {
		t.Errorf("%v", err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	t.Setenv("SSH_AUTH_SOCK", socket)
	if _, err := AgentKeys(t.Context()); err == nil || errors.Is(err, ErrNoAgent) {
		t.Errorf("%v", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	keys := agent.NewKeyring()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for silent := false; ; silent = true { // the second question is never answered
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !silent {
				_ = agent.ServeAgent(keys, conn) // it ends with the connection
			}
		}
	}()
	if n, err := AgentKeys(t.Context()); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := AgentKeys(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
