package remotetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"time"
)

const version = "SSH-2.0-OpenSSH_9.6\r\n"

// Numbers of SSH messages (RFC 4253, section 12).
const (
	msgDisconnect = 1
	msgIgnore     = 2
	msgDebug      = 4
	msgKexInit    = 20
)

func transportBehaviours() []Behaviour {
	return []Behaviour{
		faulty("closes at once", func(f *Fault) { f.CloseAtOnce = true }),
		raw("resets at once", func(_ context.Context, c net.Conn) { reset(c) }),
		faulty("silent after accept", func(f *Fault) { f.HangAfterAccept = true }),
		faulty("garbage without end", func(f *Fault) { f.Garbage = []byte("\x00\xff\x1b[2J\r\n") }),
		faulty("lines without end before the version", func(f *Fault) { f.Garbage = []byte("welcome\r\n") }),
		faulty("one line without end before the version", func(f *Fault) { f.Garbage = bytes.Repeat([]byte("x"), 4096) }),
		saying("an HTTP server", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
		saying("an old protocol", "SSH-1.5-old\r\n"),
		saying("a version of 300 bytes", "SSH-2.0-"+strings.Repeat("x", 292)+"\r\n"),
		saying("half a version", "SSH-2.0-Open"),
		saying("silent after the version", version),
		raw("a version one byte at a time", func(ctx context.Context, c net.Conn) { drip(ctx, c, strings.Repeat("w\r\n", 1000)) }),
		saying("a packet of four gigabytes", version+"\xff\xff\xff\xff"+strings.Repeat("x", 64)),
		saying("a packet without content", version+"\x00\x00\x00\x00"),
		saying("a packet of padding alone", version+string(packet(nil))),
		saying("a key exchange of garbage", version+string(packet(append([]byte{msgKexInit}, bytes.Repeat([]byte{0xff}, 200)...)))),
		saying("a key exchange that shares nothing", version+string(packet(foreignKex()))),
		saying("hangs up with a long reason", version+string(packet(farewell()))),
		flood("messages to be ignored without end", packet(append([]byte{msgIgnore}, make([]byte, 1024)...))),
		flood("large messages to be ignored without end", packet(append([]byte{msgIgnore}, make([]byte, 200<<10)...))),
		flood("debug messages without end", packet(append([]byte{msgDebug, 1}, make([]byte, 512)...))),
		faulty("cut off in the key exchange", func(f *Fault) { f.DropAfter = 700 }),
		faulty("a key exchange of ten bytes a second", func(f *Fault) { f.BytesPerSecond = 10 }),
	}
}

// saying is a host that says one thing and nothing more.
func saying(name, text string) Behaviour {
	return raw(name, func(ctx context.Context, c net.Conn) {
		_, _ = io.WriteString(c, text)
		waitClosed(ctx, c)
	})
}

// flood is a host that says its version and then the same packet again and again.
func flood(name string, p []byte) Behaviour {
	return raw(name, func(ctx context.Context, c net.Conn) {
		_, _ = io.WriteString(c, version)
		until(ctx, func() error {
			_, err := c.Write(p)
			return err
		})
	})
}

func drip(ctx context.Context, c net.Conn, text string) {
	for i := 0; i < len(text); i++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
	}
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// packet frames a payload as it stands on the wire before keys are there (RFC 4253, section 6).
func packet(payload []byte) []byte {
	padding := 8 - (5+len(payload))%8
	if padding < 4 {
		padding += 8
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	out = append(out, byte(padding))
	out = append(out, payload...)
	return append(out, make([]byte, padding)...)
}

// foreignKex is a KEXINIT whose algorithms nobody has.
func foreignKex() []byte {
	out := append([]byte{msgKexInit}, make([]byte, 16)...)
	for range 10 {
		out = append(binary.BigEndian.AppendUint32(out, 7), "unknown"...)
	}
	return append(out, 0, 0, 0, 0, 0)
}

// farewell is a DISCONNECT that has much to say.
func farewell() []byte {
	reason := strings.Repeat("go away\n\x1b[2J", 10_000)
	out := binary.BigEndian.AppendUint32([]byte{msgDisconnect}, 2)
	out = append(binary.BigEndian.AppendUint32(out, uint32(len(reason))), reason...)
	return binary.BigEndian.AppendUint32(out, 0)
}
