package remotetest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// recorder is a machine that tells what it was asked.
type recorder struct {
	sudo   remotetest.Sudo
	refuse error
	full   string // a directory without room

	mu   sync.Mutex
	said []string
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) notes() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.said, "\n")
}

func (r *recorder) Sudo(string) remotetest.Sudo { return r.sudo }

func (r *recorder) Script(ctx context.Context, s *remotetest.ScriptCall) int {
	r.note("%s for %s runs %q", s.User, s.Login, s.Text)
	switch s.Text {
	case "hang":
		<-ctx.Done()
		return 0
	case "drop":
		s.Drop()
		<-ctx.Done()
		return 0
	}
	n, _ := io.Copy(s.Stdout, s.Stdin)
	_, _ = fmt.Fprintf(s.Stderr, "%d bytes\n", n)
	return 7
}

func (r *recorder) WriteFile(_ context.Context, f *remotetest.FileCall) error {
	if r.refuse != nil {
		return r.refuse
	}
	data, err := f.Receive()
	if err != nil {
		return err
	}
	r.note("%s writes %q %o %s:%s %q", f.User, f.Path, f.Mode, f.Owner, f.Group, data)
	return nil
}

func (r *recorder) Place(_ context.Context, p *remotetest.PayloadCall) error {
	if r.full != "" && len(p.Avoid) == 0 {
		return &remotetest.Refusal{Word: "full", Text: r.full + " No space left on device"}
	}
	data, err := p.Receive()
	r.note("%s of %d bytes, args %q, avoiding %q", p.Name, len(data), p.Args, p.Avoid)
	return err
}

func (r *recorder) Payload(_ context.Context, p *remotetest.PayloadCall) int {
	_, _ = io.Copy(p.Stdout, p.Stdin)
	return 3
}

// protocolConn dials a recorder.
func protocolConn(t *testing.T, r *recorder, failf func(string, ...any), change func(*remote.Target)) *remote.Conn {
	t.Helper()
	if failf == nil {
		failf = t.Errorf
	}
	p := &remotetest.Protocol{Machine: r, Failf: failf, Noise: "Welcome!\nno newline"}
	target := remotetest.StartFleet(t).Add("one", "ada", remotetest.FleetHost{Handler: p.Handler})
	if change != nil {
		change(&target)
	}
	d, err := remote.NewDialer(remote.Options{SSH: "none", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	c, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestProtocolRunsScripts(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	c := protocolConn(t, r, nil, nil)
	script := "x='a b'\n# fleetctl_main; exit\nsay READY $$; [ -t 2 ] || say READY >&2\necho \"$x\" 3<&- &\nchild=$!\n"
	out, err := c.Run(t.Context(), remote.Cmd{Script: script, Stdin: strings.NewReader("in\x00put"), Become: true})
	if err != nil || out.ExitCode != 7 || string(out.Stdout) != "in\x00put" || string(out.Stderr) != "6 bytes\n" {
		t.Errorf("%+v, %v", out, err)
	}
	if want := fmt.Sprintf("root for ada runs %q", script); r.notes() != want {
		t.Errorf("got %s, want %s", r.notes(), want)
	}
	out, err = c.Run(t.Context(), remote.Cmd{Script: "plain"})
	if err != nil || out.ExitCode != 7 || !strings.HasSuffix(r.notes(), `ada for ada runs "plain"`) {
		t.Errorf("%+v, %v: %s", out, err, r.notes())
	}
}

func TestProtocolBecomesAsSudoDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		sudo  remotetest.Sudo
		given string
		want  error
	}{
		{"without a password", remotetest.Sudo{}, "", nil},
		{"a password that is not asked for", remotetest.Sudo{}, "secret", nil},
		{"the right password", remotetest.Sudo{Password: "secret"}, "secret", nil},
		{"a wrong password", remotetest.Sudo{Password: "secret"}, "other", remote.ErrBecomePassword},
		{"no password where one is asked for", remotetest.Sudo{Password: "secret"}, "", remote.ErrBecomeNeedsPass},
		{"no rule", remotetest.Sudo{Denied: true}, "secret", remote.ErrBecomeNotAllowed},
		{"no sudo", remotetest.Sudo{Missing: true}, "", remote.ErrBecome},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{sudo: tt.sudo}
			c := protocolConn(t, r, nil, func(target *remote.Target) { target.Become.Password = tt.given })
			_, err := c.Run(t.Context(), remote.Cmd{Script: "x", Become: true})
			if !errors.Is(err, tt.want) || (tt.want == nil) != (r.notes() != "") {
				t.Errorf("%v; ran: %s", err, r.notes())
			}
		})
	}
}

func TestProtocolWritesFiles(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	c := protocolConn(t, r, nil, nil)
	f := remote.File{Path: "/etc/a file, it's", Content: []byte("one\x00\n"), Mode: 0o640, Owner: "root", Group: "tbot"}
	if err := c.WriteFile(t.Context(), f, true); err != nil {
		t.Fatal(err)
	}
	if want := `root writes "/etc/a file, it's" 640 root:tbot "one\x00\n"`; r.notes() != want {
		t.Errorf("got %s", r.notes())
	}
	if err := c.WriteFile(t.Context(), remote.File{Path: "/tmp/empty", Mode: 0o600}, false); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]error{"full": remote.ErrNoSpace, "link": remote.ErrFile, "owner": remote.ErrFile, "sum": remote.ErrDisconnected} {
		r.refuse = &remotetest.Refusal{Word: word, Text: "it's so"}
		if err := c.WriteFile(t.Context(), f, true); !errors.Is(err, want) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestProtocolTakesPayloads(t *testing.T) {
	t.Parallel()
	r := &recorder{full: "/tmp"}
	c := protocolConn(t, r, nil, nil)
	data := []byte(strings.Repeat("payload", 50_000))
	p, err := c.StartPayload(t.Context(), remote.Payload{
		Name: "identify", Data: data, SHA256: sha256.Sum256(data), Become: true, Args: []string{"-device", "/dev/it's 1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(p.Stdin, "hello")
	_ = p.Stdin.Close()
	out, err := io.ReadAll(p.Stdout)
	if code, _, werr := p.Wait(); code != 3 || string(out) != "hello" || errors.Join(err, werr) != nil {
		t.Errorf("%d, %q, %v, %v", code, out, err, werr)
	}
	if want := `identify of 350000 bytes, args ["-device" "/dev/it's 1"], avoiding ["/tmp"]`; r.notes() != want {
		t.Errorf("got %s", r.notes())
	}
}

func TestProtocolEndsWhatIsEnded(t *testing.T) {
	t.Parallel()
	c := protocolConn(t, &recorder{}, nil, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Run(ctx, remote.Cmd{Script: "hang"}); !errors.Is(err, remote.ErrTimeout) {
		t.Errorf("a deadline: %v", err)
	}
	p, err := c.Start(t.Context(), remote.Cmd{Script: "hang", Become: true})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := p.Close(); err != nil || time.Since(start) > 3*time.Second {
		t.Errorf("closing took %s, %v", time.Since(start), err)
	}
	if _, err := c.Run(t.Context(), remote.Cmd{Script: "drop"}); !errors.Is(err, remote.ErrDisconnected) {
		t.Errorf("a dropped connection: %v", err)
	}
}

func TestProtocolFailsLoudly(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*remote.Target){
		"an other become method": func(target *remote.Target) { target.Become.Method = "su" },
		"a machine that fails":   nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failures []string
			r := &recorder{refuse: errors.New("no refusal of the scripts'")}
			c := protocolConn(t, r, func(format string, args ...any) { failures = append(failures, fmt.Sprintf(format, args...)) }, change)
			err := c.WriteFile(t.Context(), remote.File{Path: "/etc/x", Mode: 0o600}, true)
			if err == nil || len(failures) != 1 {
				t.Errorf("%v, failures %q", err, failures)
			}
		})
	}
}
