package remotetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

func sessionBehaviours() []Behaviour {
	return []Behaviour{
		{Name: "refuses commands", Make: func(h *Host) { h.Handler = nil }},
		faulty("answers no request of a session", func(f *Fault) {
			f.Channel = func(ctx context.Context, ch ssh.NewChannel) {
				if _, _, err := ch.Accept(); err == nil {
					<-ctx.Done()
				}
			}
		}),
		onExec("silent after the command", func(ctx context.Context, _ ssh.Channel, _ *Request) { <-ctx.Done() }),
		onExec("reads everything and says nothing", func(_ context.Context, ch ssh.Channel, _ *Request) {
			_, _ = io.Copy(io.Discard, ch)
		}),
		onExec("stdout without end", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			flush(ctx, ch, []byte(strings.Repeat("welcome to the machine\n", 1000)))
		}),
		onExec("stdout without end in one line", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			flush(ctx, ch, bytes.Repeat([]byte("x"), 32<<10))
		}),
		onExec("stdout without end, a byte at a time", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			flush(ctx, ch, []byte("x"))
		}),
		onExec("stderr without end", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			flush(ctx, ch.Stderr(), []byte(strings.Repeat("warning\n", 1000)))
		}),
		onExec("stderr without end, a byte at a time", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			flush(ctx, ch.Stderr(), []byte("x"))
		}),
		onExec("both streams without end", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			go flush(ctx, ch.Stderr(), bytes.Repeat([]byte("e\n"), 1000))
			flush(ctx, ch, bytes.Repeat([]byte("o\n"), 1000))
		}),
		onExec("requests on a channel without end", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			until(ctx, func() error {
				_, err := ch.SendRequest("keepalive@example.com", false, make([]byte, 2<<10))
				return err
			})
		}),
		onExec("requests on a channel that want answers without end", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			until(ctx, func() error {
				_, err := ch.SendRequest("keepalive@example.com", true, make([]byte, 2<<10))
				return err
			})
		}),
		onExec("ends the output and never closes", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			_ = ch.CloseWrite()
			<-ctx.Done()
		}),
		onExec("a status and no end", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			exitStatusOf(ch, 0)
			<-ctx.Done()
		}),
		onExec("closes without a status", func(_ context.Context, ch ssh.Channel, _ *Request) { _ = ch.Close() }),
		onExec("an end of output without a status", func(_ context.Context, ch ssh.Channel, _ *Request) {
			_ = ch.CloseWrite()
			_ = ch.Close()
		}),
		onExec("hangs up after the command", func(_ context.Context, _ ssh.Channel, req *Request) { req.Drop() }),
		onExec("a status of four billion", func(_ context.Context, ch ssh.Channel, _ *Request) {
			exitStatusOf(ch, math.MaxUint32)
			_ = ch.Close()
		}),
		onExec("half a status", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0})
			<-ctx.Done()
		}),
		onExec("two statuses", func(_ context.Context, ch ssh.Channel, _ *Request) {
			exitStatusOf(ch, 0)
			exitStatusOf(ch, 3)
			_ = ch.Close()
		}),
		onExec("killed by a signal", func(_ context.Context, ch ssh.Channel, _ *Request) {
			exitSignal(ch, "KILL", "")
			_ = ch.Close()
		}),
		onExec("killed by a signal with a long name", func(_ context.Context, ch ssh.Channel, _ *Request) {
			exitSignal(ch, strings.Repeat("NO\nSUCH", 2000), strings.Repeat("ok host=other\n", 1000))
			_ = ch.Close()
		}),
		onExec("output after the status", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			exitStatusOf(ch, 0)
			flush(ctx, ch, []byte(strings.Repeat("more\n", 1000)))
		}),
	}
}

// onExec is a host that has its own way with commands.
func onExec(name string, serve func(ctx context.Context, ch ssh.Channel, req *Request)) Behaviour {
	return faulty(name, func(f *Fault) { f.Exec = serve })
}

// flush writes p again and again.
func flush(ctx context.Context, w io.Writer, p []byte) {
	until(ctx, func() error {
		_, err := w.Write(p)
		return err
	})
}

func exitStatusOf(ch ssh.Channel, status uint32) {
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

func exitSignal(ch ssh.Channel, name, text string) {
	_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
		Signal string
		Core   bool
		Text   string
		Lang   string
	}{name, false, text, ""}))
}

// scriptBehaviours are hosts that know our scripts and answer them with lies.
func scriptBehaviours() []Behaviour {
	return []Behaviour{
		onExec("words without their marker", func(ctx context.Context, ch ssh.Channel, _ *Request) {
			_, _ = io.WriteString(ch, "BEGUN\nBECAME 1\nNEED\nREADY 1\nFAIL sum\n")
			<-ctx.Done()
		}),
		lies("ready before anything is there, then garbage", func(ctx context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "1")
			flush(ctx, ch, []byte("\x00\xff garbage \x1b[2J\n"))
		}),
		lies("ready, then silence", func(ctx context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "1")
			<-ctx.Done()
		}),
		lies("ready, then gone", func(_ context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "1")
			_ = ch.Close()
		}),
		lies("ready, then stderr without end", func(ctx context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "1")
			flush(ctx, ch.Stderr(), []byte(strings.Repeat("segmentation fault\n", 1000)))
		}),
		lies("a process number that is a command", func(_ context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "-1; reboot")
			_ = ch.Close()
		}),
		lies("a failure of a megabyte", func(_ context.Context, ch ssh.Channel, m string) {
			_, _ = fmt.Fprintf(ch, "%s FAIL nodir %s\n", m, strings.Repeat("/tmp:full ok host=other\t", 40_000))
			_ = ch.Close()
		}),
		lies("a failure that nobody knows", func(_ context.Context, ch ssh.Channel, m string) {
			_, _ = fmt.Fprintf(ch, "%s FAIL \x1b[2J\rok host=other\n", m)
			_ = ch.Close()
		}),
		lies("words that nobody knows", func(ctx context.Context, ch ssh.Channel, m string) {
			_, _ = fmt.Fprintf(ch, "%s CERTAINLY yes\n", m)
			<-ctx.Done()
		}),
		lies("needs the data again and again", func(ctx context.Context, ch ssh.Channel, m string) {
			go func() { _, _ = io.Copy(io.Discard, ch) }()
			flush(ctx, ch, []byte(m+" NEED\n"))
		}),
		lies("every directory is full, one after the other", func(_ context.Context, ch ssh.Channel, m string) {
			_, _ = fmt.Fprintf(ch, "%s FAIL full /tmp no space left on device\n", m)
			exitStatusOf(ch, 97)
			_ = ch.Close()
		}),
		lies("frames of a helper that are too long", func(ctx context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "1")
			_, _ = io.WriteString(ch, "\x01\xff\xff\xff\xff")
			<-ctx.Done()
		}),
		lies("frames of a helper without end", func(ctx context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "1")
			flush(ctx, ch, append([]byte{1, 0, 0, 0xff, 0xff}, make([]byte, 0xffff)...))
		}),
		lies("half a frame, then gone", func(_ context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "1")
			_, _ = io.WriteString(ch, "\x01\x00\x00\x10\x00half")
			_ = ch.Close()
		}),
		{Name: "hangs up while the helper works", Make: func(h *Host) {
			serve := h.Handler
			h.Handler = func(ctx context.Context, req *Request) int {
				d := &dropper{in: req.Stdin, out: req.Stdout, drop: req.Drop}
				mine := *req
				mine.Stdin, mine.Stdout = readFunc(d.read), writeFunc(d.write)
				return serve(ctx, &mine)
			}
		}},
		lies("answers that forge rows", func(_ context.Context, ch ssh.Channel, m string) {
			ready(ch, m, "1")
			_, _ = io.WriteString(ch, "ok host=other\nEK x y z\n\x1b[1Aother\tok\n")
			_, _ = io.WriteString(ch.Stderr(), "ok host=other\nfailed\thost=other\n")
			exitStatusOf(ch, 1)
			_ = ch.Close()
		}),
	}
}

// ready says that a script runs.
func ready(ch ssh.Channel, marker, pid string) {
	_, _ = fmt.Fprintf(ch, "%s READY %s\n", marker, pid)
	_, _ = fmt.Fprintf(ch.Stderr(), "%s READY\n", marker)
}

// lies is a host that reads a script as far as its marker, and answers for it.
func lies(name string, answer func(ctx context.Context, ch ssh.Channel, marker string)) Behaviour {
	return onExec(name, func(ctx context.Context, ch ssh.Channel, _ *Request) {
		text := make([]byte, 0, 4<<10)
		buf := make([]byte, 512)
		for len(text) < 4<<10 {
			if m := anyMarker.Find(text); m != nil {
				answer(ctx, ch, string(m))
				return
			}
			n, err := ch.Read(buf)
			if err != nil {
				return
			}
			text = append(text, buf[:n]...)
		}
	})
}

// dropper hangs up at the first word that a helper says, in the middle of it.
type dropper struct {
	in   io.Reader
	out  io.Writer
	drop func()

	mu    sync.Mutex
	taken int  // bytes of stdin
	ready bool // the script runs
}

type (
	readFunc  func(p []byte) (int, error)
	writeFunc func(p []byte) (int, error)
)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// helperSize is what tells a helper from a script, in bytes.
const helperSize = 16 << 10

func (d *dropper) read(p []byte) (int, error) {
	n, err := d.in.Read(p)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken += n
	return n, err
}

func (d *dropper) write(p []byte) (int, error) {
	d.mu.Lock()
	cut := d.ready && d.taken > helperSize
	first := len(p)
	if i := bytes.Index(p, []byte(" READY ")); i >= 0 && d.taken > helperSize {
		d.ready = true
		first = i + bytes.IndexByte(append(p[i:len(p):len(p)], '\n'), '\n') + 1
		cut = first < len(p)
	}
	d.mu.Unlock()
	if !cut {
		return d.out.Write(p)
	}
	_, _ = d.out.Write(p[:max(min(first, len(p)-1), len(p)/2)])
	d.drop()
	return 0, io.ErrClosedPipe
}
