package remote_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

func newDialer(t testing.TB, opts remote.Options) *remote.Dialer {
	t.Helper()
	if opts.Logf == nil {
		opts.Logf = t.Logf
	}
	d, err := remote.NewDialer(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func dialTest(t testing.TB, opts remote.Options, target remote.Target) *remote.Conn {
	t.Helper()
	c, err := newDialer(t, opts).Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRunAgainstOpenSSH(t *testing.T) {
	t.Parallel()
	c := dialTest(t, remote.Options{}, remotetest.StartSSHD(t).Target())
	for _, tt := range []struct {
		name string
		cmd  remote.Cmd
		out  string
		err  string
		code int
	}{
		{"says hello", remote.Cmd{Script: "echo hello"}, "hello\n", "", 0},
		{"passes the exit code on", remote.Cmd{Script: "exit 7"}, "", "", 7},
		{"reads stdin to its end", remote.Cmd{Script: "cat; echo done >&2", Stdin: strings.NewReader("a\nb")}, "a\nb", "done\n", 0},
		{"keeps quotes and newlines", remote.Cmd{Script: "printf '%s\n' 'it'\\''s' \"$HOME\" >/dev/null\necho \"a  b\""}, "a  b\n", "", 0},
		{"has no stdin when none is given", remote.Cmd{Script: "cat"}, "", "", 0},
		{"reports a syntax error", remote.Cmd{Script: "echo '"}, "", "", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := c.Run(t.Context(), tt.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if string(out.Stdout) != tt.out || out.ExitCode != tt.code || (tt.err != "" && string(out.Stderr) != tt.err) {
				t.Errorf("got %q, %q, %d", out.Stdout, out.Stderr, out.ExitCode)
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	c := dialTest(t, remote.Options{}, remotetest.StartSSHD(t).Target())
	for _, script := range []string{"yes", "yes >&2"} {
		if _, err := c.Run(t.Context(), remote.Cmd{Script: script, MaxOutput: 1000}); !errors.Is(err, remote.ErrOutputTooLong) {
			t.Errorf("%s: %v", script, err)
		}
	}
	if out, err := c.Run(t.Context(), remote.Cmd{Script: "printf 12345", MaxOutput: 5}); err != nil || string(out.Stdout) != "12345" {
		t.Errorf("exactly the limit: %q, %v", out.Stdout, err)
	}
}

func TestPayloadIsPushedRunAndRemoved(t *testing.T) {
	t.Parallel()
	c := dialTest(t, remote.Options{}, remotetest.StartSSHD(t).Target())
	data := []byte("#!/bin/sh\necho \"$0\"; echo \"$@\"; cat; exit 5\n#" + strings.Repeat("x", 300_000))
	p, err := c.StartPayload(t.Context(), remote.Payload{
		Name: "helper", Data: data, SHA256: sha256.Sum256(data), Args: []string{"-a", "b c"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(p.Stdin, "input")
	_ = p.Stdin.Close()
	out, err := io.ReadAll(p.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	code, _, err := p.Wait()
	lines := strings.SplitN(string(out), "\n", 3)
	if err != nil || code != 5 || len(lines) != 3 || lines[1] != "-a b c" || lines[2] != "input" {
		t.Fatalf("%q, %d, %v", out, code, err)
	}
	if _, err := os.Stat(filepath.Dir(lines[0])); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", lines[0], err)
	}
}

func TestPayloadWithAWrongDigestDoesNotRun(t *testing.T) {
	t.Parallel()
	c := dialTest(t, remote.Options{}, remotetest.StartSSHD(t).Target())
	_, err := c.StartPayload(t.Context(), remote.Payload{Name: "helper", Data: []byte("#!/bin/sh\n"), SHA256: [32]byte{1}})
	if !errors.Is(err, remote.ErrDisconnected) || !strings.Contains(err.Error(), "SHA-256") {
		t.Error(err)
	}
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	c := dialTest(t, remote.Options{}, remotetest.StartSSHD(t).Target())
	dir := t.TempDir()
	path := filepath.Join(dir, "it's a file")
	for _, content := range []string{"first\n", "", "\x00\xff binary " + strings.Repeat("y", 200_000)} {
		f := remote.File{Path: path, Content: []byte(content), Mode: 0o640, Owner: "root", Group: "root"}
		if os.Getuid() != 0 {
			f.Owner, f.Group = "", ""
		}
		if err := c.WriteFile(t.Context(), f, false); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, []byte(content)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for bad, want := range map[string]error{link: remote.ErrFile, dir: remote.ErrFile, filepath.Join(dir, "missing", "x"): remote.ErrFile,
		"relative": remote.ErrConfig} {
		if err := c.WriteFile(t.Context(), remote.File{Path: bad, Mode: 0o600}, false); !errors.Is(err, want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("left behind: %v", names)
	}
}

func TestCancellationEndsAtOnceAndCleansUp(t *testing.T) {
	t.Parallel()
	c := dialTest(t, remote.Options{}, remotetest.StartSSHD(t).Target())
	data := []byte("#!/bin/sh\necho $0\nsleep 1000\n")
	ctx, cancel := context.WithCancel(t.Context())
	p, err := c.StartPayload(ctx, remote.Payload{Name: "helper", Data: data, SHA256: sha256.Sum256(data)})
	if err != nil {
		t.Fatal(err)
	}
	path := make([]byte, 200)
	n, err := p.Stdout.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, _, err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	waitGone(t, filepath.Dir(string(path[:n-1])))
}

// waitGone waits until a file is not there any more.
func waitGone(t testing.TB, path string) {
	t.Helper()
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return
		}
	}
	t.Errorf("%s is still there", path)
}

// payload makes a payload of a script.
func payload(script string, become bool) remote.Payload {
	data := []byte(script)
	return remote.Payload{Name: "helper", Data: data, SHA256: sha256.Sum256(data), Become: become}
}
