package sshfp

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// answer is the reply to a query: with a CNAME and records of SHA-256, SHA-1 and another length.
func answer(query []byte, flags uint16, digest []byte) []byte {
	end := bytes.IndexByte(query[headerLen:], 0) + headerLen + 5
	reply := append([]byte{query[0], query[1]}, byte(flags>>8), byte(flags), 0, 1, 0, 4, 0, 0, 0, 0)
	reply = append(reply, query[headerLen:end]...)
	add := func(kind uint16, data ...byte) {
		reply = append(reply, 0xc0, headerLen)
		reply = binary.BigEndian.AppendUint16(reply, kind)
		reply = append(reply, 0, classIN, 0, 0, 0, 60)
		reply = append(binary.BigEndian.AppendUint16(reply, uint16(len(data))), data...)
	}
	add(5, 1, 'x', 0xc0, headerLen)
	add(typeSSHFP, append([]byte{4, hashSHA256}, digest...)...)
	add(typeSSHFP, append([]byte{4, 1}, digest[:20]...)...)
	add(typeSSHFP, 1, hashSHA256, 1, 2, 3)
	return reply
}

// serve serves a DNS; cut: the answers by UDP are cut off.
func serve(t *testing.T, flags uint16, digest []byte, cut bool) string {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = tcp.Close(), udp.Close() })
	go func() {
		buf := make([]byte, maxUDP)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			reply := answer(buf[:n], flags, digest)
			if cut {
				reply[2] |= flagTruncated >> 8
			}
			_, _ = udp.WriteTo([]byte("not it"), from)
			_, _ = udp.WriteTo(reply, from)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			size := make([]byte, 2)
			_, _ = io.ReadFull(c, size)
			query := make([]byte, binary.BigEndian.Uint16(size))
			_, _ = io.ReadFull(c, query)
			reply := answer(query, flags, digest)
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			_ = c.Close()
		}
	}()
	return tcp.Addr().String()
}

func TestRecordsAndWhetherTheyAreAuthentic(t *testing.T) {
	t.Parallel()
	digest := bytes.Repeat([]byte{7}, 32)
	const ok = flagResponse | flagRecursion
	for _, tt := range []struct {
		name      string
		flags     uint16
		cut       bool
		records   int
		authentic bool
		fails     string
	}{
		{"authenticated", ok | flagAuthentic, false, 1, true, ""},
		{"not authenticated", ok, false, 1, false, ""},
		{"too long for UDP", ok | flagAuthentic, true, 1, true, ""},
		{"no such name", ok | flagAuthentic | nameError, false, 0, false, ""},
		{"refused", ok | 5, false, 0, false, "code 5"},
		{"validation failed", ok | 2, false, 0, false, "code 2"},
		{"a question comes back", flagRecursion, false, 0, false, "cannot be read"},
	} {
		r := Resolver{Servers: []string{serve(t, tt.flags, digest, tt.cut)}, Timeout: time.Minute}
		a, err := r.Lookup(t.Context(), "web.example.com")
		if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if len(a.Records) != tt.records || a.Authentic != tt.authentic || tt.records == 1 && !bytes.Equal(a.Records[0].SHA256, digest) {
			t.Errorf("%s: %+v", tt.name, a)
		}
	}
}

func TestWhoseWordCounts(t *testing.T) {
	t.Parallel()
	r := parse("# x\nsearch a\nnameserver 192.0.2.1\nnameserver ::1\noptions ndots:1 trust-ad\n")
	if len(r.Servers) != 2 || r.Servers[1] != "[::1]:53" || !r.TrustAD || parse("nameserver 192.0.2.1\n").TrustAD {
		t.Errorf("%+v", r)
	}
	if !local("127.0.0.53:53") || !local("[::1]:53") || local("192.0.2.1:53") || local("x") {
		t.Error("who is local?")
	}
	for _, bad := range []string{"", "a..b", strings.Repeat("a", 64), strings.Repeat("a.", 130)} {
		if _, err := question(bad); err == nil {
			t.Errorf("%q is asked for", bad)
		}
	}
}

// FuzzAnswer reads anything: it never fails but by an error.
func FuzzAnswer(f *testing.F) {
	q, err := question("web.example.com")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer(q, flagResponse, make([]byte, 32))[2:])
	f.Add([]byte{0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0})
	f.Fuzz(func(t *testing.T, reply []byte) {
		a, _, err := read(q, append([]byte{q[0], q[1]}, reply...))
		for _, r := range a.Records {
			if len(r.SHA256) != 32 || err != nil && len(a.Records) > len(reply) {
				t.Errorf("%+v", a)
			}
		}
	})
}
