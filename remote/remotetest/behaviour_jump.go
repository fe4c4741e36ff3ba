package remotetest

import (
	"bytes"
	"context"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// JumpBehaviours are jump hosts that lie or break: whoever goes through one of them reaches nobody.
func JumpBehaviours() []Behaviour {
	return []Behaviour{
		channels("a jump host that confirms no channel", func(ctx context.Context, _ ssh.NewChannel) { <-ctx.Done() }),
		channels("a jump host that refuses with a long reason", func(_ context.Context, ch ssh.NewChannel) {
			_ = ch.Reject(ssh.ConnectionFailed, strings.Repeat("no route\nok host=other\x1b[2J", 1000))
		}),
		channels("a jump host that forbids", func(_ context.Context, ch ssh.NewChannel) {
			_ = ch.Reject(ssh.Prohibited, "administratively prohibited")
		}),
		accepts("a jump host that says nothing behind a channel", func(ctx context.Context, _ ssh.Channel) { <-ctx.Done() }),
		accepts("a jump host that closes each channel", func(_ context.Context, ch ssh.Channel) { _ = ch.Close() }),
		accepts("a jump host that sends garbage without end", func(ctx context.Context, ch ssh.Channel) {
			flush(ctx, ch, bytes.Repeat([]byte("\x00\xff garbage"), 1000))
		}),
		accepts("a jump host that sends a byte now and then", func(ctx context.Context, ch ssh.Channel) {
			until(ctx, func() error {
				time.Sleep(50 * time.Millisecond)
				_, err := ch.Write([]byte("x"))
				return err
			})
		}),
		accepts("a jump host that reads nothing", func(ctx context.Context, ch ssh.Channel) {
			_, _ = ch.Write([]byte(version))
			<-ctx.Done()
		}),
		accepts("a jump host that ends the output and never closes", func(ctx context.Context, ch ssh.Channel) {
			_ = ch.CloseWrite()
			<-ctx.Done()
		}),
		faulty("a jump host that hangs up at the first channel", func(f *Fault) {
			f.DropAfter = 4000
			f.Channel = func(_ context.Context, ch ssh.NewChannel) {
				if c, _, err := ch.Accept(); err == nil {
					_, _ = c.Write(bytes.Repeat([]byte("x"), 8000))
				}
			}
		}),
	}
}

func channels(name string, serve func(ctx context.Context, ch ssh.NewChannel)) Behaviour {
	return faulty(name, func(f *Fault) { f.Channel = serve })
}

// accepts is a jump host that confirms a channel and is itself behind it.
func accepts(name string, serve func(ctx context.Context, ch ssh.Channel)) Behaviour {
	return channels(name, func(ctx context.Context, nch ssh.NewChannel) {
		ch, reqs, err := nch.Accept()
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		serve(ctx, ch)
	})
}
