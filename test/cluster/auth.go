package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/google/go-attestation/attest"
	"github.com/gravitational/teleport/api/types"

	"fleetctl/test/cluster/wire"
)

// joinTimeout bounds one join: creating an RSA EK takes up to 17 s on real chips.
const joinTimeout = time.Minute

// Auth is the auth service: it decides joins with what the store holds at that moment.
type Auth struct {
	Store *Store
	Log   *slog.Logger
}

// Serve answers joins until ctx ends; then it closes the listener and returns nil.
func (a *Auth) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go a.serveConn(conn)
	}
}

func (a *Auth) serveConn(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(joinTimeout))
	c := wire.NewConn(conn)
	var hello wire.Hello
	if err := c.Receive(&hello); err != nil {
		a.Log.Warn("join: no request", "from", conn.RemoteAddr(), "err", err)
		return
	}
	server, err := a.Store.Server()
	if err != nil {
		a.Log.Error("join", "err", err)
		return
	}
	identity, err := a.join(c, hello, server)
	if err != nil {
		err = server.Refuse(err, hello.Token)
		a.Log.Warn("join refused", "from", conn.RemoteAddr(), "token", hello.Token, "err", err)
		_ = c.Send(wire.Reply{Error: err.Error()})
		return
	}
	a.Log.Info("join", "from", conn.RemoteAddr(), "token", hello.Token, "ek_pub_hash", identity.EKPubHash)
	_ = c.Send(wire.Reply{Identity: identity})
}

// join decides one join. A renewal is decided anew in the same way.
func (a *Auth) join(c *wire.Conn, hello wire.Hello, server Server) (*wire.Identity, error) {
	token, err := a.Store.Token(hello.Token)
	if errors.Is(err, ErrNotFound) {
		return nil, &Refusal{Why: ErrNoToken}
	}
	if err != nil {
		return nil, err
	}
	if server.OSS {
		return nil, &Refusal{Why: ErrLicence}
	}
	verdict, err := Judge(token, Attestation{
		EKCert: hello.EKCert,
		EKKey:  hello.EKKey,
		AK:     hello.AK,
		Activate: func(challenge attest.EncryptedCredential) ([]byte, error) {
			return solve(c, challenge)
		},
	}, time.Now())
	if err != nil {
		return nil, err
	}
	if err := a.checkBot(token); err != nil {
		return nil, err
	}
	return a.Store.recordJoin(hello, token, verdict)
}

// checkBot refuses a bot that does not exist or is locked.
func (a *Auth) checkBot(token *types.ProvisionTokenV2) error {
	if _, err := a.Store.Bot(token.Spec.BotName); err != nil {
		return err
	}
	if message, ok := a.Store.lockInForce("bot-"+token.Spec.BotName, time.Now()); ok {
		return errors.New("lock targeting User:\"bot-" + token.Spec.BotName + "\" is in force: " + message)
	}
	return nil
}

func solve(c *wire.Conn, challenge attest.EncryptedCredential) ([]byte, error) {
	if err := c.Send(wire.Reply{Challenge: &challenge}); err != nil {
		return nil, err
	}
	var solution wire.Solution
	if err := c.Receive(&solution); err != nil {
		return nil, err
	}
	if solution.Error != "" {
		return nil, errors.New(solution.Error)
	}
	return solution.Secret, nil
}
