package tbot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/google/go-attestation/attest"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/wire"
)

// joinTimeout bounds one join.
const joinTimeout = 45 * time.Second

// join joins once: the TPM is open only as long as it takes.
func (b *bot) join(ctx context.Context, startup bool) (*wire.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	tpm, err := openTPM(b.device)
	if err != nil {
		return nil, err
	}
	defer tpm.Close()
	identity, err := b.joinWith(ctx, tpm, startup)
	if err != nil {
		return nil, err
	}
	return identity, b.config.Storage.save(identity)
}

func (b *bot) joinWith(ctx context.Context, tpm *attest.TPM, startup bool) (*wire.Identity, error) {
	ek, err := present(tpm)
	if err != nil {
		return nil, err
	}
	ak, err := tpm.NewAK(&attest.AKConfig{})
	if err != nil {
		return nil, fmt.Errorf("creating ak: %w", err)
	}
	defer ak.Close(tpm)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.config.Server())
	if err != nil {
		return nil, cli.Wrap(err, "%s", b.config.dialWords())
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	hello := wire.Hello{
		Token: b.config.Onboarding.token, EKCert: ek.EKCert, EKKey: ek.EKKey, AK: ak.AttestationParameters(),
		Beat: b.heartbeat(startup),
	}
	if previous := b.config.Storage.load(); previous != nil {
		hello.Previous = previous.Secret
	}
	return talk(wire.NewConn(conn), hello, func(challenge attest.EncryptedCredential) ([]byte, error) {
		return ak.ActivateCredential(tpm, challenge)
	})
}

// dialWords is what tbot says when nobody answers (versions.md, D: lib/tbot/client, id 955605157).
func (c *Config) dialWords() string {
	if c.AuthServer != "" {
		return "failed direct dial to auth server"
	}
	return "failed dial to auth server through reverse tunnel"
}

// talk holds the conversation of one join.
func talk(
	c *wire.Conn, hello wire.Hello, activate func(attest.EncryptedCredential) ([]byte, error),
) (*wire.Identity, error) {
	if err := c.Send(hello); err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	for {
		var reply wire.Reply
		if err := c.Receive(&reply); err != nil {
			return nil, fmt.Errorf("joining: %w", err)
		}
		switch {
		case reply.Error != "":
			return nil, errors.New(reply.Error)
		case reply.Identity != nil:
			return reply.Identity, nil
		case reply.Challenge == nil:
			return nil, errors.New("joining: empty reply")
		}
		var solution wire.Solution
		secret, err := activate(*reply.Challenge)
		if err != nil {
			solution.Error = err.Error()
		}
		solution.Secret = secret
		if err := c.Send(solution); err != nil { // also that there is none: the server says what that means
			return nil, fmt.Errorf("joining: %w", err)
		}
	}
}

func (b *bot) heartbeat(startup bool) wire.Heartbeat {
	hostname, _ := os.Hostname()
	return wire.Heartbeat{
		Hostname: hostname, Version: b.V.String(), Arch: runtime.GOARCH, OS: runtime.GOOS,
		OneShot: b.config.Oneshot, Startup: startup, Uptime: time.Since(b.began),
	}
}
