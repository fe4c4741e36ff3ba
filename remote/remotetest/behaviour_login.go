package remotetest

import (
	"context"
	"errors"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

var errRefused = errors.New("refused")

func authBehaviours() []Behaviour {
	return []Behaviour{
		faulty("silent in the authentication", func(f *Fault) { f.HangInAuth = true }),
		faulty("cut off in the authentication", func(f *Fault) { f.DropAfter = 2000 }),
		faulty("hangs up at the first key", func(f *Fault) {
			f.Config = func(_ context.Context, conn net.Conn, cfg *ssh.ServerConfig) {
				cfg.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
					_ = conn.Close()
					return nil, errRefused
				}
			}
		}),
		onKey("refuses every key", func(context.Context, ssh.ServerPreAuthConn) error { return errRefused }),
		onKey("wants more after every key", func(context.Context, ssh.ServerPreAuthConn) error {
			return &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{
				PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, errRefused },
			}}
		}),
		onKey("banners without end", func(ctx context.Context, c ssh.ServerPreAuthConn) error {
			text := strings.Repeat("authorized use only\n", 50)
			until(ctx, func() error { return c.SendAuthBanner(text) })
			return errRefused
		}),
		onKey("large banners without end", func(ctx context.Context, c ssh.ServerPreAuthConn) error {
			text := strings.Repeat("\x1b]0;title\x07", 20_000)
			until(ctx, func() error { return c.SendAuthBanner(text) })
			return errRefused
		}),
		{Name: "a banner that forges lines", Fine: true, Make: func(h *Host) {
			h.Banner = "ok host=other\nfailed host=other\r\n\x1b[2J"
		}},
		keyboard("questions without end", func(ask ssh.KeyboardInteractiveChallenge) error {
			for {
				if _, err := ask("", "", []string{"Code: "}, []bool{true}); err != nil {
					return err
				}
			}
		}),
		keyboard("messages without end instead of questions", func(ask ssh.KeyboardInteractiveChallenge) error {
			for {
				if _, err := ask("", strings.Repeat("wait\n", 200), nil, nil); err != nil {
					return err
				}
			}
		}),
		keyboard("a question of a megabyte", func(ask ssh.KeyboardInteractiveChallenge) error {
			_, err := ask("", strings.Repeat("x", 120<<10), []string{strings.Repeat("password", 10<<10)}, []bool{false})
			return err
		}),
	}
}

// onKey is a host that answers each key in its own way.
func onKey(name string, answer func(ctx context.Context, c ssh.ServerPreAuthConn) error) Behaviour {
	return faulty(name, func(f *Fault) {
		f.Config = func(ctx context.Context, _ net.Conn, cfg *ssh.ServerConfig) {
			var conn ssh.ServerPreAuthConn
			cfg.PreAuthConnCallback = func(c ssh.ServerPreAuthConn) { conn = c }
			cfg.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
				return nil, answer(ctx, conn)
			}
		}
	})
}

// keyboard is a host that takes no keys and asks instead.
func keyboard(name string, talk func(ask ssh.KeyboardInteractiveChallenge) error) Behaviour {
	return faulty(name, func(f *Fault) {
		f.Config = func(_ context.Context, _ net.Conn, cfg *ssh.ServerConfig) {
			cfg.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, errRefused }
			cfg.PasswordCallback = nil
			cfg.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				if err := talk(ask); err != nil {
					return nil, err
				}
				return nil, errRefused
			}
		}
	})
}

func connectionBehaviours() []Behaviour {
	return []Behaviour{
		connected("global requests without end", func(ctx context.Context, c *ssh.ServerConn) {
			until(ctx, func() error {
				_, _, err := c.SendRequest("keepalive@example.com", false, make([]byte, 100))
				return err
			})
		}),
		connected("large global requests without end", func(ctx context.Context, c *ssh.ServerConn) {
			until(ctx, func() error {
				_, _, err := c.SendRequest("keepalive@example.com", false, make([]byte, 200<<10))
				return err
			})
		}),
		connected("global requests that want answers without end", func(ctx context.Context, c *ssh.ServerConn) {
			for range 64 {
				go until(ctx, func() error {
					_, _, err := c.SendRequest("keepalive@example.com", true, make([]byte, 4<<10))
					return err
				})
			}
		}),
		connected("opens channels without end", func(ctx context.Context, c *ssh.ServerConn) {
			for range 64 {
				go until(ctx, func() error {
					ch, _, err := c.OpenChannel("x11", nil)
					if err == nil {
						_ = ch.Close()
					}
					var refused *ssh.OpenChannelError
					if errors.As(err, &refused) {
						return nil
					}
					return err
				})
			}
		}),
		connected("hangs up after the login", func(_ context.Context, c *ssh.ServerConn) { _ = c.Close() }),
		{Name: "new keys all the time", Fine: true, Make: func(h *Host) {
			h.Fault.Config = func(_ context.Context, _ net.Conn, cfg *ssh.ServerConfig) { cfg.RekeyThreshold = 256 }
		}},
		faulty("confirms no channel", func(f *Fault) {
			f.Channel = func(ctx context.Context, _ ssh.NewChannel) { <-ctx.Done() }
		}),
		{Name: "refuses channels with a long reason", Huge: true, Make: func(h *Host) {
			h.Fault.Channel = func(_ context.Context, ch ssh.NewChannel) {
				_ = ch.Reject(ssh.ResourceShortage, strings.Repeat("no\nok host=other\x1b[2J", 8000))
			}
		}},
		faulty("closes each channel at once", func(f *Fault) {
			f.Channel = func(_ context.Context, ch ssh.NewChannel) {
				if c, reqs, err := ch.Accept(); err == nil {
					go ssh.DiscardRequests(reqs)
					_ = c.Close()
				}
			}
		}),
	}
}

// connected is a host that does something beside its work once somebody logged in.
func connected(name string, do func(ctx context.Context, c *ssh.ServerConn)) Behaviour {
	return Behaviour{Name: name, Race: true, Huge: true, Make: func(h *Host) { h.Fault.Connected = do }}
}
