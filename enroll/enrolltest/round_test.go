package enrolltest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/tpm"
	"fleetctl/remote"
)

// dial connects to one host over the real dialer.
func dial(t *testing.T, h *Host, change func(*remote.Target)) *remote.Conn {
	t.Helper()
	_, targets := Serve(t, h)
	if change != nil {
		change(&targets[0])
	}
	d, err := remote.NewDialer(remote.Options{SSH: "none", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	c, err := d.Dial(t.Context(), targets[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// fixture is a file of testdata. A line "#prelude" stands for what the scripts of a host share.
func fixture(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if strings.Contains(text, "\n#prelude\n") {
		text = strings.Replace(text, "#prelude\n", fixture(t, "prelude.sh"), 1)
	}
	return text
}

// run runs a script as root and returns what it printed.
func run(t *testing.T, c *remote.Conn, script string) string {
	t.Helper()
	out, err := c.Run(t.Context(), remote.Cmd{Script: script, Become: true})
	if err != nil || out.ExitCode != 0 {
		t.Fatalf("%s: %+v %s, %v", script, out.ExitCode, out.Stderr, err)
	}
	return string(out.Stdout)
}

// replay does what a fixture says: scripts with the prelude, and files.
func replay(t *testing.T, c *remote.Conn, name string) {
	t.Helper()
	for _, section := range strings.Split(fixture(t, name), "#--- ")[1:] {
		head, text, _ := strings.Cut(section, "\n")
		f := remote.File{Content: []byte(text)}
		var owner string
		if n, _ := fmt.Sscanf(head, "file %s %o %s", &f.Path, &f.Mode, &owner); n != 3 {
			run(t, c, fixture(t, "prelude.sh")+text)
			continue
		}
		f.Owner, f.Group, _ = strings.Cut(owner, ":")
		if err := c.WriteFile(t.Context(), f, true); err != nil {
			t.Fatal(err)
		}
	}
}

// admit lets EKs join with the token of the fixtures.
func admit(t *testing.T, c *memcluster.Cluster, more string, hashes ...string) {
	t.Helper()
	doc := "kind: bot\nversion: v1\nmetadata: {name: fleet}\nspec: {roles: [access]}\n---\n" +
		"kind: token\nversion: v2\nmetadata: {name: fleet}\nspec:\n  roles: [Bot]\n  join_method: tpm\n  bot_name: fleet\n  tpm:\n" + more + "    allow:\n"
	for _, hash := range hashes {
		doc += "    - ek_public_hash: \"" + hash + "\"\n"
	}
	if err := c.Put(doc); err != nil {
		t.Fatal(err)
	}
}

func newHost(t *testing.T, tbot string) (*Host, *memcluster.Cluster) {
	t.Helper()
	h, c := NewHost(t, "web-01", tbot), memcluster.NewCluster(t, "18.4.0")
	h.TPM, h.Cluster = newTPM(t, 7), c
	admit(t, c, "", h.TPM.EKHash())
	return h, c
}

func needs(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("no %q in:\n%s", line, text)
		}
	}
}

func TestWholeRound(t *testing.T) {
	t.Parallel()
	h, cluster := newHost(t, "18.4.0")
	c := dial(t, h, nil)
	before := h.Tree()

	out, err := c.Run(t.Context(), remote.Cmd{Script: fixture(t, "probe.sh")})
	if err != nil || string(out.Stdout) != "os=Linux\narch=x86_64\nuid=1000\ndevice=1\n" {
		t.Errorf("probe: %q, %v", out.Stdout, err)
	}
	data := []byte("helper")
	p, err := c.StartPayload(t.Context(), remote.Payload{Name: "identify", Data: data, SHA256: sha256.Sum256(data), Become: true})
	if err != nil {
		t.Fatal(err)
	}
	report, err := tpm.Examine(t.Context(), tpm.HelperLink(p.Stdin, p.Stdout), tpm.ExamineOptions{Proof: true})
	if err != nil || !report.Proven || report.Identity.Hash != h.TPM.EKHash() {
		t.Errorf("%+v, %v", report, err)
	}
	_ = p.Stdin.Close()
	if code, _, err := p.Wait(); code != 0 || err != nil {
		t.Errorf("the helper ended with %d, %v", code, err)
	}

	facts := run(t, c, fixture(t, "facts.sh"))
	needs(t, facts, "uid=0", "systemd=252", "device.stat=600 root root", "service.load=not-found", "storage.acl=ok", "end=1")
	if strings.Contains(facts, "user.uid") || strings.Contains(facts, "dir.0") {
		t.Errorf("facts of a host that nobody touched:\n%s", facts)
	}
	replay(t, c, "enroll.txt")
	needs(t, run(t, c, fixture(t, "verify.sh")), "state=joined", "by=journal")
	needs(t, run(t, c, fixture(t, "facts.sh")), "user.groups=teleport tss", "device.opens=ok", "device.stat=660 root tss",
		"dir.storage=dir 700 teleport teleport 4096", "service.active=active", "service.enabled=enabled", "service.reload=no",
		"tbot.version=Teleport Enterprise v18.4.0 git:v18.4.0-0-g0123456 go1.24.10")
	if n := cluster.Joins(h.TPM.EKHash()); n != 1 {
		t.Errorf("%d joins", n)
	}
	replay(t, c, "remove.txt")
	if after := h.Tree(); after != before {
		t.Errorf("the removal left something:\n%s\nbefore:\n%s", after, before)
	}
}

func TestFaultsOfAHost(t *testing.T) {
	t.Parallel()
	file := remote.File{Path: "/etc/x", Content: []byte("x"), Mode: 0o600}
	for _, tt := range []struct {
		name   string
		change func(*Host)
		target func(*remote.Target)
		want   error
		done   bool // it happened all the same
	}{
		{name: "nothing", done: true},
		{name: "a dropped connection", change: func(h *Host) { h.Before = func(Event) error { return ErrDrop } }, want: remote.ErrDisconnected},
		{name: "a lost answer", change: func(h *Host) { h.After = func(Event) error { return ErrDrop } }, want: remote.ErrDisconnected, done: true},
		{name: "a full disk", change: func(h *Host) { h.s.Full = true }, want: remote.ErrNoSpace},
		{name: "a wrong password", change: func(h *Host) { h.s.Sudo.Password = "right" },
			target: func(x *remote.Target) { x.Become.Password = "wrong" }, want: remote.ErrBecomePassword},
		{name: "a symbolic link", change: func(h *Host) { h.s.Files["/etc/x"] = &File{Kind: Link, Target: "/etc/passwd"} }, want: remote.ErrFile, done: true},
		{name: "what the hook says", change: func(h *Host) { h.Before = func(Event) error { return errors.New("sh: Read-only file system") } }, want: remote.ErrFile},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _ := newHost(t, "18.4.0")
			if tt.change != nil {
				tt.change(h)
			}
			err := dial(t, h, tt.target).WriteFile(t.Context(), file, true)
			there := false
			h.With(func(s *State) { there = s.Files["/etc/x"] != nil })
			if !errors.Is(err, tt.want) || there != tt.done {
				t.Errorf("%v; the file is there: %v", err, there)
			}
		})
	}
}

func TestAHostThatHangs(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "18.4.0")
	h.Before = func(Event) error { return ErrHang }
	c := dial(t, h, nil)
	start := time.Now()
	p, err := c.Start(t.Context(), remote.Cmd{Script: "echo never", Become: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil || time.Since(start) > 3*time.Second {
		t.Errorf("closing took %s, %v", time.Since(start), err)
	}
}

func TestFullDiskWhileTbotIsPushed(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "")
	c := dial(t, h, nil)
	push := remote.Cmd{Script: "umask 077; cat >/usr/local/bin/part", Stdin: strings.NewReader("content"), Become: true}
	out, err := c.Run(t.Context(), push)
	if err != nil || out.ExitCode != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	h.With(func(s *State) {
		if f := s.Files["/usr/local/bin/part"]; f == nil || string(f.Content) != "content" || f.Mode != 0o600 {
			t.Errorf("%+v", f)
		}
		s.Full = true
	})
	push.Stdin = strings.NewReader("more")
	if out, err = c.Run(t.Context(), push); err != nil || out.ExitCode == 0 || !strings.Contains(string(out.Stderr), "No space left") {
		t.Errorf("%d %s, %v", out.ExitCode, out.Stderr, err)
	}
}

func TestHundredsOfHosts(t *testing.T) {
	t.Parallel()
	var hosts []*Host
	for i := range 200 {
		h := NewHost(t, fmt.Sprintf("web-%03d", i), "18.4.0")
		h.TPM = newTPM(t, i)
		hosts = append(hosts, h)
	}
	_, targets := Serve(t, hosts...)
	d, err := remote.NewDialer(remote.Options{SSH: "none"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	seen := map[string]bool{}
	for _, target := range targets {
		c, err := d.Dial(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		seen[run(t, c, "exec /usr/local/bin/tbot tpm identify")] = true
		_ = c.Close()
	}
	if len(seen) != len(hosts) {
		t.Errorf("%d identities", len(seen))
	}
}
