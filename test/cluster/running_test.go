package cluster_test

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/tbot"
	"fleetctl/test/cluster/tctl"
	"fleetctl/test/cluster/versions"
	"fleetctl/test/swtpm"
)

// enterprise is a tbot of a version.
func enterprise(version string) versions.Program {
	return versions.Program{V: versions.Must(version), Enterprise: true}
}

// play has the cluster be of a version.
func (s *site) play(server cluster.Server) {
	s.t.Helper()
	if err := s.store.SetServer(server); err != nil {
		s.t.Fatal(err)
	}
}

// as runs tctl as a version.
func (s *site) as(version string, stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs strings.Builder
	env := map[string]string{"TELEPORT_CONFIG_FILE": s.config, versions.EnvVersion: version}
	code = tctl.Run(tctl.Env{
		Args: args, Getenv: func(name string) string { return env[name] }, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
	})
	return out.String(), errs.String(), code
}

// host is a host's tbot.yaml and what else tbot keeps there.
type host struct {
	dir, config, storage string
}

func (s *site) host(token, extra string) host {
	dir := s.t.TempDir()
	h := host{dir: dir, config: filepath.Join(dir, "tbot.yaml"), storage: filepath.Join(dir, "bot")}
	h.write(s.t, s.addr, token, extra)
	return h
}

func (h host) write(t *testing.T, addr, token, extra string) {
	write(t, h.config, "version: v2\nauth_server: "+addr+"\nonboarding: {join_method: tpm, token: "+token+"}\n"+
		"storage: {type: directory, path: \""+h.storage+"\"}\n"+extra)
}

// once runs a version of tbot with --oneshot and returns its exit code and journal.
func (h host) once(version string, flags ...string) (int, string) {
	var out strings.Builder
	code := tbot.Run(enterprise(version), append([]string{"start", "-c", h.config, "--oneshot"}, flags...), io.Discard, &out)
	return code, out.String()
}

// running is a tbot that goes on.
type running struct {
	t    *testing.T
	addr string // of its diagnostics
	mu   sync.Mutex
	text strings.Builder
	done chan int
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *running) journal() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// start runs a version of tbot until the test ends or stop is called. A test has one at a time: signals are the process's.
func (h host) start(t *testing.T, version string) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, addr: l.Addr().String(), done: make(chan int, 1)}
	_ = l.Close()
	go func() {
		r.done <- tbot.Run(enterprise(version), []string{"start", "--config=" + h.config, "--diag-addr", r.addr}, io.Discard, r)
	}()
	return r
}

// stop ends a tbot that runs.
func (r *running) stop() {
	r.t.Helper()
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
	if code := <-r.done; code != 0 {
		r.t.Errorf("exit %d\n%s", code, r.journal())
	}
}

// get asks the diagnostics; 0 when nobody listens.
func (r *running) get(path string) (int, string) {
	resp, err := http.Get("http://" + r.addr + path)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// until waits for something.
func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("still not: %s\n%s", what, r.journal())
		}
	}
}

func (r *running) says(text string) func() bool {
	return func() bool { return strings.Contains(r.journal(), text) }
}

// ready is a site with one TPM that is admitted.
func ready(t *testing.T) (s *site, tpm *swtpm.TPM, admit string) {
	s = newSite(t)
	_, tpm, _ = tpms(t)
	admit = bot + token(t, "fleet", "ek_public_hash: "+identify(t, tpm)["EKPub Hash"], "")
	s.create(admit)
	return s, tpm, admit
}
