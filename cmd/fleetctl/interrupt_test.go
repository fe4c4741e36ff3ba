//go:build linux

package main

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/store"
	"fleetctl/remote/remotetest/orphan"
)

// soon is what a second is on a machine that has a lot to do: what these tests find takes 5 s at least, or for ever.
const soon = 4 * time.Second

// stubborn is a program that a signal doesn't end, and whose child holds its output open. It writes the child's number to
// the file "child".
const stubborn = "trap '' TERM INT HUP\nsleep 1000 &\necho $! >child.new; mv child.new child\nwhile :; do sleep 0.1; done\n"

// phase is a moment of a run that changes nothing.
type phase struct {
	name     string
	args     []string
	terminal bool
	env      []string
	files    map[string]string // written beforehand; those that begin with #! can be executed
	setup    func(t *testing.T, w *world)
	reached  func(b *begun)
	after    func(t *testing.T, b *begun) // what has to be so at the end
}

// hangingChild waits for the stubborn program's child, and wants it gone at the end.
func hangingChild(p phase) phase {
	p.reached = func(b *begun) { b.made("child") }
	p.after = func(t *testing.T, b *begun) {
		pid, err := strconv.Atoi(b.made("child"))
		if err != nil {
			t.Fatal(err)
		}
		orphan.WantGone(t, pid)
	}
	return p
}

// atHost is a phase in which a host waits before it answers.
func atHost(p phase, host, what string) phase {
	before := p.setup
	p.setup = func(t *testing.T, w *world) {
		if before != nil {
			before(t, w)
		}
		w.hold(host, what)
	}
	return p
}

func phases() []phase {
	tctlHangs := map[string]string{"tctl-hangs": "#!/bin/sh\n" + stubborn,
		"fleet.yaml": strings.Replace(worldConfig, "cluster: {", "cluster: {tctl: ./tctl-hangs, ", 1)}
	prompt := func(text string) func(b *begun) {
		return func(b *begun) {
			b.sees(text)
			waitFor(b.t, "echo is off", func() bool { return !b.echoes() })
		}
	}
	echo := func(t *testing.T, b *begun) {
		if !b.echoes() {
			t.Error("the terminal doesn't show any more what is typed")
		}
	}
	return []phase{
		{name: "the SSH password is asked for", args: []string{"scan", "-k"}, terminal: true, reached: prompt("SSH password: "), after: echo},
		{name: "the become password is asked for", args: []string{"enroll", "-K"}, terminal: true,
			reached: prompt("become password: "), after: echo},
		{name: "a key's passphrase is asked for", args: []string{"scan"}, terminal: true,
			setup: func(t *testing.T, w *world) {
				out, err := exec.Command("ssh-keygen", "-p", "-P", "", "-N", "secret", "-q", "-f", filepath.Join(w.dir, "id_fleet")).CombinedOutput()
				if err != nil {
					t.Skipf("ssh-keygen: %v\n%s", err, out)
				}
			}, reached: prompt("id_fleet: "), after: echo},
		{name: "a person is asked", args: []string{"remove", "web-01"}, terminal: true, setup: enrolled, files: map[string]string{
			"tctl-asks-nothing": "#!/bin/sh\nexec tctl \"$@\" </dev/null\n",
			"fleet.yaml":        strings.Replace(worldConfig, "cluster: {", "cluster: {tctl: ./tctl-asks-nothing, ", 1)},
			reached: func(b *begun) { b.sees("remove 1 machines? [y/N]") }},
		{name: "the ssh-agent is silent", args: []string{"scan", "-i", "hosts"}, env: []string{"SSH_AUTH_SOCK=agent"}, files: map[string]string{"hosts": "127.0.0.1:1\n"},
			setup: func(t *testing.T, w *world) { silentAgent(t, w.dir) }, reached: func(b *begun) { b.made("asked") }},
		hangingChild(phase{name: "Match exec hangs", args: []string{"scan", "-F", "ssh_config", "-i", "hosts"}, files: map[string]string{
			"ssh_config": "Match exec ./hangs\nUser nobody\n", "hangs": "#!/bin/sh\n" + stubborn, "hosts": "127.0.0.1:1\n"}}),
		hangingChild(phase{name: "a ProxyCommand hangs", args: []string{"scan", "-F", "ssh_config", "-i", "hosts"}, files: map[string]string{
			"ssh_config": "Host *\nProxyCommand ./hangs\n", "hangs": "#!/bin/sh\n" + stubborn, "hosts": "127.0.0.1:1\n"}}),
		hangingChild(phase{name: "an inventory's program hangs", args: []string{"scan", "-i", "hangs"},
			files: map[string]string{"hangs": "#!/bin/sh\n" + stubborn}}),
		{name: "the inventory is a pipe that nobody writes to", args: []string{"scan", "-i", "first", "-i", "pipe"},
			files: map[string]string{"first": "#!/bin/sh\necho begun >begun\necho '{}'\n"},
			setup: func(t *testing.T, w *world) {
				if err := syscall.Mkfifo(filepath.Join(w.dir, "pipe"), 0o600); err != nil {
					t.Fatal(err)
				}
			}, reached: func(b *begun) { b.made("begun"); time.Sleep(300 * time.Millisecond) }},
		{name: "a jump host is silent", args: []string{"scan", "-F", "ssh_config", "-i", "hosts"}, setup: silentJump,
			files: map[string]string{"hosts": "192.0.2.1\n"}, reached: func(b *begun) { b.made("asked") }},
		hangingChild(phase{name: "tctl hangs while tokens are compared", args: []string{"tokens", "--diff"}, setup: scanned, files: tctlHangs}),
		hangingChild(phase{name: "tctl hangs while it reads, on a terminal", args: []string{"status"}, terminal: true, setup: scanned, files: tctlHangs}),
		hangingChild(phase{name: "the hook before a run hangs", args: []string{"enroll", "--out", "out"}, files: map[string]string{
			"hangs": "#!/bin/sh\n" + stubborn, "fleet.yaml": worldConfig + "rollout: {hooks: {before_run: ./hangs}}\n"}}),
		{name: "another program holds the records", args: []string{"scan"}, setup: func(t *testing.T, w *world) { scanned(t, w); lockRecords(t, w) },
			reached: func(b *begun) { b.holds("/fleet.db"); time.Sleep(300 * time.Millisecond) }},
		{name: "another run holds the records, and is waited for", args: []string{"scan", "--wait", "1h"},
			setup:   func(t *testing.T, w *world) { scanned(t, w); lockRun(t, w) },
			reached: func(b *begun) { b.holds("/fleet.db.lock"); time.Sleep(300 * time.Millisecond) }},
		{name: "hosts accept and are silent", args: []string{"scan"}, setup: silentHost,
			reached: func(b *begun) { b.holds("socket:"); time.Sleep(time.Second) }},
		atHost(phase{name: "a host is silent after the login", args: []string{"scan"}}, "web-01", "any"),
		atHost(phase{name: "a host's TPM is asked", args: []string{"scan"}}, "web-01", "identify"),
		atHost(phase{name: "a host is looked at by status", args: []string{"status"}, setup: enrolled}, "web-01", "facts"),
		atHost(phase{name: "a host is looked at by a dry run", args: []string{"enroll", "--check"}}, "web-01", "facts"),
		atHost(phase{name: "a host is looked at by enroll", args: []string{"enroll", "--install-only"}, setup: tokensOnly}, "web-01", "facts"),
		atHost(phase{name: "a host's join is looked at", args: []string{"enroll", "--install-only"}, setup: enrolled}, "web-01", "verify"),
		atHost(phase{name: "a host is looked at for a removal", args: []string{"remove", "--yes", "web-01"}, setup: enrolled}, "web-01", "facts"),
	}
}

// The first Ctrl-C ends whatever changes nothing, and is heard at once: at every moment at which one may wait for something
// that never comes.
func TestTheFirstInterruptEndsWhatChangesNothing(t *testing.T) {
	t.Parallel()
	heedHangup(t)
	for i, p := range phases() {
		s := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}[i%3]
		t.Run(p.name+", "+s.String(), func(t *testing.T) {
			t.Parallel()
			w, b := p.begin(t)
			defer w.release("")
			p.wait(w, b)
			b.signal(s)
			began := time.Now()
			code, ok := b.ended(soon)
			if !ok {
				t.Fatalf("it goes on after %s\n%s", soon, b.said.String())
			}
			t.Logf("ended %s after the signal", time.Since(began).Round(time.Millisecond))
			b.sees("fleetctl: interrupted")
			if code != exitInterrupted {
				t.Errorf("exit code %d\n%s", code, b.said.String())
			}
			b.wantNoFiles("tmp")
			if p.after != nil {
				p.after(t, b)
			}
		})
	}
}

// changing are moments of a run at which something is being changed.
func changing() []phase {
	hook := func(name string) map[string]string {
		return map[string]string{"hangs": "#!/bin/sh\n" + stubborn, "fleet.yaml": worldConfig + "rollout: {hooks: {" + name + ": ./hangs}}\n"}
	}
	return []phase{
		atHost(phase{name: "a step of enroll", args: []string{"enroll", "--install-only"}, setup: tokensOnly,
			after: wantState("web-01", "applying", "failed")}, "web-01", "/etc/tbot.yaml"),
		atHost(phase{name: "a step of a removal", args: []string{"remove", "--yes", "web-01"}, setup: enrolled,
			after: wantState("web-01", "removing")}, "web-01", "action"),
		hangingChild(phase{name: "the hook before a host", args: []string{"enroll", "--install-only"}, setup: tokensOnly, files: hook("before_host")}),
		hangingChild(phase{name: "the hook after a host", args: []string{"enroll", "--install-only"}, setup: tokensOnly, files: hook("after_host")}),
		hangingChild(phase{name: "the hook after a run", args: []string{"enroll", "--install-only"}, setup: tokensOnly, files: hook("after_run")}),
		hangingChild(phase{name: "a write of tctl", args: []string{"tokens", "--apply", "--out", "out"}, setup: scanned, files: map[string]string{
			"fleet.yaml": strings.Replace(worldConfig, "cluster: {", "cluster: {tctl: ./tctl-hangs, ", 1),
			"tctl-hangs": "#!/bin/sh\n[ \"$1\" = create ] || exec tctl \"$@\"\n" + stubborn}}),
	}
}

// What is being changed outlives the first Ctrl-C, and the second one ends it at once. Then the records say what is open.
func TestTheSecondInterruptEndsWhatIsChanged(t *testing.T) {
	t.Parallel()
	heedHangup(t)
	for _, p := range changing() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			w, b := p.begin(t)
			defer w.release("")
			p.wait(w, b)
			b.signal(syscall.SIGINT)
			b.sees("fleetctl: stopping: ")
			b.signal(syscall.SIGHUP) // it never insists
			if code, ok := b.ended(2 * patience); ok {
				t.Fatalf("it ended in the middle, with %d\n%s", code, b.said.String())
			}
			b.signal(syscall.SIGTERM)
			code, ok := b.ended(soon)
			if !ok {
				t.Fatalf("it goes on after the second\n%s", b.said.String())
			}
			if code != exitInterrupted {
				t.Errorf("exit code %d\n%s", code, b.said.String())
			}
			b.wantNoFiles("tmp")
			if p.after != nil {
				p.after(t, b)
			}
		})
	}
}

// heedHangup lets programs that a test starts hear of hangups, also where the tests themselves don't (nohup).
func heedHangup(t *testing.T) {
	t.Helper()
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(heard) })
}

// Who is started by nohup outlives the terminal.
func TestAHangupThatIsIgnoredStaysSo(t *testing.T) {
	t.Parallel()
	p := atHost(phase{}, "web-01", "any")
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=1"}})
	defer w.release("")
	p.setup(t, w)
	cmd := exec.Command("sh", "-c", "trap '' HUP; exec fleetctl scan")
	cmd.Dir, cmd.Env = w.dir, w.environment(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-w.asked
	_ = cmd.Process.Signal(syscall.SIGHUP)
	time.Sleep(300 * time.Millisecond)
	w.release("")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended: %v", err)
	}
}

// wantState wants the records to say that something is open on a host.
func wantState(host string, states ...string) func(*testing.T, *begun) {
	return func(t *testing.T, b *begun) {
		t.Helper()
		st, err := store.Open(t.Context(), filepath.Join(b.dir, "fleet.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		rec, err := st.Record(t.Context(), host)
		if err != nil || rec.Installed == nil || !slices.Contains(states, rec.Installed.State) || rec.Installed.Step == "" {
			t.Errorf("%+v, %v: want one of %v", rec.Installed, err, states)
		}
	}
}

func enrolled(t *testing.T, w *world) {
	t.Helper()
	if r := w.inProcess("enroll", "--out", w.out()); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
}

func (p phase) begin(t *testing.T) (*world, *begun) {
	t.Helper()
	dir := t.TempDir()
	w := newWorld(t, dir, worldOptions{groups: []string{"web=2"}})
	if p.setup != nil {
		p.setup(t, w)
	}
	for name, text := range p.files {
		mode := os.FileMode(0o600)
		if strings.HasPrefix(text, "#!") {
			mode = 0o700
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w, w.begin(t, p.terminal, append(p.env, "TMPDIR="+filepath.Join(dir, "tmp")), p.args...)
}

// wait waits until the phase is reached.
func (p phase) wait(w *world, b *begun) {
	b.t.Helper()
	if p.reached != nil {
		p.reached(b)
		return
	}
	select {
	case <-w.asked:
	case <-b.done:
		b.t.Fatalf("it ended before\n%s", b.said.String())
	case <-time.After(60 * time.Second):
		b.t.Fatalf("no host that waits was asked\n%s", b.said.String())
	}
}

func scanned(t *testing.T, w *world) {
	t.Helper()
	if r := w.inProcess("scan"); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
}

func tokensOnly(t *testing.T, w *world) {
	t.Helper()
	if r := w.inProcess("enroll", "--tokens-only", "--out", w.out()); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
}

// silentAgent accepts, and answers nothing.
func silentAgent(t *testing.T, dir string) {
	t.Helper()
	short, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	l, err := net.Listen("unix", filepath.Join(short, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := os.Symlink(filepath.Join(short, "s"), filepath.Join(dir, "agent")); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = c.Read(make([]byte, 100))
			_ = os.WriteFile(filepath.Join(dir, "asked"), []byte("asked\n"), 0o600)
		}
	}()
}

// silentJump is a jump host that accepts, and says nothing.
func silentJump(t *testing.T, w *world) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	config := "Host 192.0.2.1\nProxyJump " + l.Addr().String() + "\n"
	if err := os.WriteFile(filepath.Join(w.dir, "ssh_config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = os.WriteFile(filepath.Join(w.dir, "asked"), []byte("asked\n"), 0o600)
	}()
}

// lockRecords is another program that has begun to write into the records, and doesn't come to its end.
func lockRecords(t *testing.T, w *world) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "fleet.db")+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
}

// lockRun is another run on the same records.
func lockRun(t *testing.T, w *world) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, "fleet.db.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, `{"pid": %d, "command": "scan", "since": "2026-01-02T03:04:05Z"}`+"\n", os.Getpid())
}

// silentHost lets web-01 accept connections and say nothing.
func silentHost(_ *testing.T, w *world) {
	w.hosts["web-01"].With(func(s *enrolltest.State) { s.Silent = true })
}
