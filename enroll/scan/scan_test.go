package scan

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// bench is a host that really runs what it is told, and everything that a scan of it needs. The helper is a shell
// script, so that it can do what the real one never would.
type bench struct {
	dir   string // the host's home
	store store.Store
	opts  Options
	hosts []inventory.Host
}

func newBench(t *testing.T, helper string) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir()}
	own := t.TempDir()
	key, err := remotetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"HOME=" + b.dir, "TMPDIR=" + b.dir, "PATH=" + b.dir + "/bin:/usr/bin:/bin"}
	server, err := remotetest.Start(remotetest.Config{Host: remotetest.Host{
		HostKeys: []ssh.Signer{key}, Password: "secret",
		Handler: remotetest.Shell(remotetest.ShellConfig{Dir: b.dir, Env: env}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	known := filepath.Join(own, "known_hosts")
	line := fmt.Sprintf("[127.0.0.1]:%d %s", server.Port(), ssh.MarshalAuthorizedKey(key.PublicKey()))
	writeFile(t, known, line, 0o600)
	source := filepath.Join(own, "inventory.yaml")
	writeFile(t, source, fmt.Sprintf("all: {hosts: {web-01: {ansible_host: 127.0.0.1, ansible_port: %d, ansible_user: me, "+
		"ansible_password: secret, ansible_become: false, ansible_ssh_common_args: '-F none -o UserKnownHostsFile=%s'}}}\n",
		server.Port(), known), 0o600)
	inv, err := inventory.Load(t.Context(), []string{source}, inventory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if b.hosts, err = inv.Select("all"); err != nil {
		t.Fatal(err)
	}
	dialer, err := remote.NewDialer(remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	if b.store, err = store.Open(t.Context(), filepath.Join(own, "fleet.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	b.opts = Options{
		Reach: work.Reach{Dialer: dialer, Forks: 1, Timeout: time.Minute}, Run: work.Run{Store: b.store},
		Ask: Ask{Helpers: fakeHelpers(t, helper), Proof: true},
	}
	return b
}

func writeFile(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// fakeHelpers is a helper for every architecture that is a shell script.
func fakeHelpers(t *testing.T, script string) fstest.MapFS {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write([]byte("#!/bin/sh\n" + script)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, arch := range remote.Architectures() {
		files["identify-linux-"+arch+".gz"] = &fstest.MapFile{Data: buf.Bytes()}
	}
	return files
}

// tool puts a program of the host before the system's.
func (b *bench) tool(t *testing.T, name, script string) {
	t.Helper()
	writeFile(t, filepath.Join(b.dir, "bin", name), "#!/bin/sh\n"+script, 0o755)
}

func (b *bench) scan(ctx context.Context, t *testing.T) outcome.Result {
	t.Helper()
	run, err := b.store.BeginRun(ctx, "scan", len(b.hosts))
	if err != nil {
		t.Fatal(err)
	}
	b.opts.ID = run
	results, err := Scan(ctx, b.hosts, b.opts)
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	return results[0]
}

func TestScanNamesWhatAHostDoesWrong(t *testing.T) {
	const uname = `case $1 in -m) echo x86_64 ;; *) echo Linux ;; esac`
	for _, tc := range []struct {
		name    string
		helper  string
		tools   map[string]string
		timeout time.Duration
		status  string
		message string // a part of it
	}{
		{
			name:   "a helper that prints garbage",
			helper: "head -c 5000 /dev/urandom; cat >/dev/null", status: "bad-output",
		},
		{
			name:   "a helper that prints without end",
			helper: "yes", status: "bad-output",
		},
		{
			name:   "a helper that ends at once says why",
			helper: "echo >&2 'segmentation fault'; exit 139", status: "bad-output", message: "exit code 139: segmentation fault",
		},
		{
			name:   "terminal escapes of a host reach nobody",
			helper: "printf >&2 'evil\\033]0;title\\007\\033[2J'; exit 1", status: "bad-output", message: "evil",
		},
		{
			name:   "a helper that hangs",
			helper: "sleep 600", timeout: 3 * time.Second, status: "timeout",
		},
		{
			name:  "another system than Linux",
			tools: map[string]string{"uname": "echo FreeBSD"}, status: "no-tpm", message: `runs "FreeBSD"`,
		},
		{
			name:  "a probe that answers with nothing",
			tools: map[string]string{"uname": "exit 1"}, status: "bad-output", message: "what kind of host it is can't be read",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, tc.helper)
			for name, script := range tc.tools {
				b.tool(t, name, script)
			}
			if tc.tools["uname"] == "" {
				b.tool(t, "uname", uname)
			}
			if tc.timeout > 0 {
				b.opts.Timeout = tc.timeout
			}
			r := b.scan(t.Context(), t)
			if r.Code != outcome.Code(tc.status) || !strings.Contains(r.Message, tc.message) {
				t.Errorf("status %q, message %q; want %q, %q", r.Code, r.Message, tc.status, tc.message)
			}
			if strings.ContainsFunc(r.Message, func(c rune) bool { return c < ' ' || c == 0x7f }) {
				t.Errorf("control characters in %q", r.Message)
			}
			rec, err := b.store.Record(t.Context(), "web-01")
			if err != nil || rec.Last.Status != tc.status || rec.Accepted != nil {
				t.Errorf("record: %+v, %v; want an observation with the status and no identity", rec, err)
			}
			assertNothingLeft(t, b.dir)
		})
	}
}

// assertNothingLeft looks at the host's home: but for the tools that the test put there, it must be empty.
func assertNothingLeft(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "bin" {
			t.Errorf("left on the host: %s", e.Name())
		}
	}
}

func TestScanOfACanceledRunRecordsNothing(t *testing.T) {
	b := newBench(t, "sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	run, err := b.store.BeginRun(ctx, "scan", 1)
	if err != nil {
		t.Fatal(err)
	}
	b.opts.ID = run
	b.opts.Dialer = dialHook{b.opts.Dialer, cancel}
	results, err := Scan(ctx, b.hosts, b.opts)
	if err == nil || results[0].Outcome != outcome.Canceled {
		t.Errorf("Scan = %+v, %v; want a canceled host and the context's error", results, err)
	}
	seen, err := b.store.Seen(t.Context(), run)
	if err != nil || len(seen) != 0 {
		t.Errorf("the run saw %v, %v: a resumed scan would leave the host out", seen, err)
	}
}

// dialHook calls then as soon as a connection is there.
type dialHook struct {
	work.Dialer
	then func()
}

func (d dialHook) Dial(ctx context.Context, t remote.Target) (*remote.Conn, error) {
	conn, err := d.Dialer.Dial(ctx, t)
	d.then()
	return conn, err
}
