package remotetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/remote"
)

// Peer is a host that the conformance suite is run against. It must be this machine: the suite looks at its files.
type Peer struct {
	Target  remote.Target
	Options remote.Options
	Dir     string // a directory that the login user may write to
	Become  bool   // the target may become root
}

// Conformance checks that remote keeps its word against a peer. Every peer, real or simulated, gets the same suite.
func Conformance(t *testing.T, peer Peer) {
	t.Helper()
	if peer.Options.Logf == nil {
		peer.Options.Logf = t.Logf
	}
	d, err := remote.NewDialer(peer.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	c, err := d.Dial(t.Context(), peer.Target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s := suite{peer: peer, conn: c, dialer: d}
	t.Run("run", s.run)
	t.Run("much input and output", s.bulk)
	t.Run("several at once", s.several)
	t.Run("output without end", s.endless)
	t.Run("start talks both ways", s.talk)
	t.Run("payload", s.payload)
	t.Run("file", s.file)
	t.Run("cancellation", s.cancel)
	t.Run("close cleans up", s.close)
}

type suite struct {
	peer   Peer
	conn   *remote.Conn
	dialer *remote.Dialer
}

func (s suite) run(t *testing.T) {
	for _, tt := range []struct {
		name, script, stdin, out, err string
		code                          int
	}{
		{"says hello", "echo hello", "", "hello\n", "", 0},
		{"tells stdout from stderr", "echo out; echo err >&2", "", "out\n", "err\n", 0},
		{"passes an exit code on", "exit 42", "", "", "", 42},
		{"passes the status of a failed command on", "false", "", "", "", 1},
		{"reads stdin to its end", "cat", "a\x00b\xff\n", "a\x00b\xff\n", "", 0},
		{"need not read stdin", "exit 0", strings.Repeat("x", 100_000), "", "", 0},
		{"is read by sh, whatever the login shell",
			"x='a  b'; f() { printf '%s|' \"$@\"; }; f \"$x\" '!!' '$HOME' \"it's\"", "",
			"a  b|!!|$HOME|it's|", "", 0},
		{"keeps its output without a newline", "printf x; printf y >&2", "", "x", "y", 0},
		{"may hold a here-document", "cat <<'E'\n$a `b` \\\nE\n", "", "$a `b` \\\n", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := s.conn.Run(t.Context(), remote.Cmd{Script: tt.script, Stdin: strings.NewReader(tt.stdin)})
			if err != nil {
				t.Fatal(err)
			}
			if string(out.Stdout) != tt.out || string(out.Stderr) != tt.err || out.ExitCode != tt.code {
				t.Errorf("got %q, %q, %d", out.Stdout, out.Stderr, out.ExitCode)
			}
		})
	}
}

func (s suite) bulk(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	cmd := remote.Cmd{Script: "cat", Stdin: bytes.NewReader(data), MaxOutput: int64(len(data))}
	out, err := s.conn.Run(t.Context(), cmd)
	if err != nil || !bytes.Equal(out.Stdout, data) {
		t.Errorf("%d bytes came back, %v", len(out.Stdout), err)
	}
}

func (s suite) several(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			out, err := s.conn.Run(t.Context(), remote.Cmd{Script: fmt.Sprintf("sleep 0.1; echo %d", i)})
			if err != nil || string(out.Stdout) != fmt.Sprintf("%d\n", i) {
				t.Errorf("%d: %q, %v", i, out.Stdout, err)
			}
		})
	}
	wg.Wait()
}

func (s suite) endless(t *testing.T) {
	const loop = "while :; do echo yyyyyyyyyyyyyyyy; done"
	for _, script := range []string{loop, loop + " >&2"} {
		_, err := s.conn.Run(t.Context(), remote.Cmd{Script: script, MaxOutput: 10_000})
		if !errors.Is(err, remote.ErrOutputTooLong) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func (s suite) talk(t *testing.T) {
	p, err := s.conn.Start(t.Context(), remote.Cmd{Script: "while read -r line; do echo \"<$line>\"; done; exit 9"})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for _, word := range []string{"one", "two"} {
		if _, err := io.WriteString(p.Stdin, word+"\n"); err != nil {
			t.Fatal(err)
		}
		n, err := p.Stdout.Read(buf)
		if err != nil || string(buf[:n]) != "<"+word+">\n" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	_ = p.Stdin.Close()
	if code, _, err := p.Wait(); code != 9 || err != nil {
		t.Errorf("status %d, %v", code, err)
	}
}

// sleeper is a payload that says where it is and who it is, and stays until it is ended.
func sleeper(become bool) remote.Payload {
	data := []byte("#!/bin/sh\necho $0 $$ $(id -u)\nwhile :; do sleep 1000; done\n")
	return remote.Payload{Name: "sleeper", Data: data, SHA256: sha256.Sum256(data), Become: become}
}

func (s suite) payload(t *testing.T) {
	for _, become := range []bool{false, true} {
		if become && !s.peer.Become {
			continue
		}
		data := []byte("#!/bin/sh\necho \"$0\"; cat; echo said >&2; exit 6\n#" + strings.Repeat("x", 1<<20))
		p, err := s.conn.StartPayload(t.Context(), remote.Payload{
			Name: "echo", Data: data, SHA256: sha256.Sum256(data), Become: become,
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(p.Stdin, "in\x00put")
		_ = p.Stdin.Close()
		out, err := io.ReadAll(p.Stdout)
		if err != nil {
			t.Fatal(err)
		}
		path, rest, _ := strings.Cut(string(out), "\n")
		if code, stderr, err := p.Wait(); code != 6 || string(stderr) != "said\n" || err != nil || rest != "in\x00put" {
			t.Errorf("%q, %q, %d, %v", out, stderr, code, err)
		}
		if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func (s suite) file(t *testing.T) {
	path := filepath.Join(s.peer.Dir, "a file, it's")
	for i, content := range []string{"one\n", "", strings.Repeat("\x00\xff", 1<<18)} {
		mode := []os.FileMode{0o600, 0o755, 0o640}[i]
		f := remote.File{Path: path, Content: []byte(content), Mode: uint32(mode)}
		if err := s.conn.WriteFile(t.Context(), f, s.peer.Become); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%v, %v", st, err)
		}
	}
	bad := remote.File{Path: filepath.Join(s.peer.Dir, "missing", "x"), Content: []byte("x"), Mode: 0o600}
	if err := s.conn.WriteFile(t.Context(), bad, false); err == nil {
		t.Error("a directory that is not there was written to")
	}
	left, err := filepath.Glob(filepath.Join(s.peer.Dir, ".fleetctl-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func (s suite) cancel(t *testing.T) {
	c, err := s.dialer.Dial(t.Context(), s.peer.Target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	p, dir, pid := s.sleep(ctx, t, c)
	cancel()
	if _, _, err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	_ = c.Close()
	gone(t, dir, "/proc/"+pid)
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.conn.Run(ctx, remote.Cmd{Script: "sleep 100"}); !errors.Is(err, remote.ErrTimeout) {
		t.Errorf("a deadline: %v", err)
	}
}

func (s suite) close(t *testing.T) {
	p, dir, pid := s.sleep(t.Context(), t, s.conn)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	gone(t, dir, "/proc/"+pid)
}

// sleep starts a sleeper, as root where the peer allows it.
func (s suite) sleep(ctx context.Context, t *testing.T, c *remote.Conn) (p *remote.Process, dir, pid string) {
	t.Helper()
	p, err := c.StartPayload(ctx, sleeper(s.peer.Become))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 300)
	n, err := p.Stdout.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(buf[:n]))
	if len(words) != 3 || (s.peer.Become && words[2] != "0") {
		t.Fatalf("it said %q", words)
	}
	return p, filepath.Dir(words[0]), words[1]
}

// gone waits until files are not there any more.
func gone(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		start := time.Now()
		for {
			if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
				break
			}
			if time.Since(start) > time.Minute {
				t.Errorf("%s is still there", path)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}
