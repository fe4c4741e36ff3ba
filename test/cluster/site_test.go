package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/tbot"
	"fleetctl/test/cluster/tctl"
	"fleetctl/test/swtpm"
)

// site is a cluster of stand-ins in one process.
type site struct {
	t      *testing.T
	store  *cluster.Store
	config string // tctl's
	addr   string // the auth service's
}

func newSite(t *testing.T) *site {
	dir := t.TempDir()
	store, err := cluster.OpenStore(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "teleport.yaml")
	write(t, config, "teleport: {data_dir: "+filepath.Join(dir, "data")+"}\n")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	auth := cluster.Auth{Store: store, Log: slog.New(slog.NewTextHandler(testLog{t}, nil))}
	go func() { done <- auth.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &site{t: t, store: store, config: config, addr: l.Addr().String()}
}

// testLog writes the auth service's log to the test's, as long as the test runs.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// tctl runs the stand-in for tctl with a file on stdin.
func (s *site) tctl(stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs strings.Builder
	code = tctl.Run(tctl.Env{
		Args:   args,
		Getenv: func(name string) string { return map[string]string{"TELEPORT_CONFIG_FILE": s.config}[name] },
		Stdin:  strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
	})
	return out.String(), errs.String(), code
}

func (s *site) create(yaml string, args ...string) {
	s.t.Helper()
	if _, stderr, code := s.tctl(yaml, append([]string{"create", "-f"}, args...)...); code != 0 {
		s.t.Fatalf("tctl create: %s", stderr)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const bot = `
kind: bot
version: v1
metadata: {name: fleet}
spec: {roles: [access]}
`

// token writes a token; cas is a PEM file or "".
func token(t *testing.T, name, rule, cas string) string {
	text := "---\nkind: token\nversion: v2\nmetadata: {name: " + name + "}\nspec:\n  roles: [Bot]\n  join_method: tpm\n" +
		"  bot_name: fleet\n  tpm:\n    allow: [{" + rule + "}]\n"
	if cas != "" {
		pem, err := os.ReadFile(cas)
		if err != nil {
			t.Fatal(err)
		}
		quoted, _ := json.Marshal(string(pem))
		text += "    ekcert_allowed_cas: [" + string(quoted) + "]\n"
	}
	return text
}

// made is the directory with the states of two TPMs, one with an EK certificate (a) and one without (b), and their CA.
var made = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "tpm"); err != nil { // t.TempDir is too long for a unix socket
		return "", err
	}
	madeIn = dir
	ca, err := swtpm.NewCA(filepath.Join(dir, "ca"))
	if err != nil {
		return dir, err
	}
	ctx := context.Background()
	return dir, errors.Join(ca.Make(ctx, filepath.Join(dir, "a"), "a"), swtpm.MakeBare(ctx, filepath.Join(dir, "b")))
})

var madeIn string

func TestMain(m *testing.M) {
	code := m.Run()
	if madeIn != "" {
		_ = os.RemoveAll(madeIn)
	}
	os.Exit(code)
}

// tpms starts copies of the two TPMs.
func tpms(t *testing.T) (ca *swtpm.CA, certified, bare *swtpm.TPM) {
	t.Helper()
	if err := swtpm.Find(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	start := func(name string) *swtpm.TPM {
		own, err := os.MkdirTemp(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(own), swtpm.Clone(filepath.Join(dir, name), own)); err != nil {
			t.Fatal(err)
		}
		tpm, err := swtpm.Start(own)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tpm.Stop)
		return tpm
	}
	if ca, err = swtpm.NewCA(filepath.Join(dir, "ca")); err != nil {
		t.Fatal(err)
	}
	return ca, start("a"), start("b")
}

// identify returns what `tbot tpm identify` says of a TPM, by its keys.
func identify(t *testing.T, tpm *swtpm.TPM) map[string]string {
	t.Helper()
	t.Setenv("STANDIN_TPM", tpm.Socket)
	var out, errs strings.Builder
	if code := tbot.Main([]string{"tpm", "identify"}, &out, &errs); code != 0 {
		t.Fatal(errs.String())
	}
	said := map[string]string{}
	for line := range strings.Lines(out.String()) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		said[key] = value
	}
	return said
}

// join runs `tbot start --oneshot` and returns what it says when it fails.
func (s *site) join(tpm *swtpm.TPM, token, extra string) string {
	s.t.Helper()
	s.t.Setenv("STANDIN_TPM", tpm.Socket)
	dir := s.t.TempDir()
	path := filepath.Join(dir, "tbot.yaml")
	write(s.t, path, "version: v2\nauth_server: "+s.addr+"\nonboarding: {join_method: tpm, token: "+token+"}\n"+
		"storage: {type: directory, path: \""+filepath.Join(dir, "bot")+"\"}\n"+extra)
	var errs strings.Builder
	if code := tbot.Main([]string{"start", "-c", path, "--oneshot"}, io.Discard, &errs); code == 0 {
		return ""
	}
	return errs.String()
}
