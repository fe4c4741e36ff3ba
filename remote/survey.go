package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh/agent"
)

// KnowsHost reports whether known_hosts has a line about a target, without asking it. Where a KnownHostsCommand may know it, it does.
func (d *Dialer) KnowsHost(ctx context.Context, t Target) (bool, error) {
	s, err := d.resolve(ctx, t)
	if err != nil {
		return false, err
	}
	known, err := d.knownHosts(s)
	if err != nil {
		return false, dialError(ctx, err)
	}
	return len(s.knownCommand) > 0 || known.Has(s.knownNames()), nil
}

// ErrNoAgent says that no ssh-agent is named in the environment.
var ErrNoAgent = errors.New("no ssh-agent runs for this user (SSH_AUTH_SOCK is not set)")

// AgentKeys asks the user's ssh-agent how many keys it holds.
func AgentKeys(ctx context.Context) (int, error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return 0, ErrNoAgent
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, fmt.Errorf("ssh-agent: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing was written that could be lost
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	keys, err := agent.NewClient(conn).List()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("ssh-agent: %w", err)
	}
	return len(keys), nil
}
