package remote

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNamesAreFoundAsTheSystemFindsThem has names that a DNS of its own knows nothing of.
func TestNamesAreFoundAsTheSystemFindsThem(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	port := l.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	answers := write("getent", "#!/bin/sh\n[ \"$1 $2 $3\" = 'ahosts -- board.invalid' ] || exit 2\necho '192.0.2.1.x STREAM'; echo '127.0.0.1 STREAM board'\n")
	mdns := write("mdns", "# hosts: x\npasswd: files ldap\nhosts: files mdns4_minimal [NOTFOUND=return] dns # mDNS\n")
	plain := write("plain", "hosts: files dns\n")
	dialer := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: noNames(t)}}
	for _, tt := range []struct {
		name   string
		system system
		host   string
		say    string // of the error; "": it is reached
	}{
		{"known by mDNS", system{mdns, answers}, "board.invalid", ""},
		{"known by nobody", system{mdns, answers}, "other.invalid", "no such host"},
		{"nobody else is to be asked", system{plain, answers}, "board.invalid", "no such host"},
		{"nobody can be asked", system{mdns, "no-such-getent"}, "board.invalid", "mdns4_minimal"},
		{"no file", system{filepath.Join(dir, "none"), answers}, "board.invalid", "no such host"},
	} {
		conn, err := tt.system.dial(t.Context(), dialer, "tcp", &settings{host: tt.host, port: port})
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != (tt.say == "") || !strings.Contains(fmt.Sprint(err), tt.say) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// noNames serves a DNS that knows no name, and returns what leads there.
func noNames(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	dns, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := dns.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2], buf[3] = 0x81, 0x83 // a response: NXDOMAIN (RFC 1035, section 4.1.1)
			_, _ = dns.WriteTo(buf[:n], from)
		}
	}()
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", dns.LocalAddr().String())
	}
}
