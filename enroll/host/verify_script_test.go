package host

import (
	"bytes"
	"context"
	"errors"
	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stubConn runs scripts on this machine, with programs of a test's own before all others.
type stubConn struct {
	shell []string
	dir   string
}

func newStubConn(t *testing.T, shell []string, programs map[string]string) stubConn {
	t.Helper()
	c := stubConn{shell, t.TempDir()}
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte("#!/bin/sh\nd="+c.dir+"\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c stubConn) Run(ctx context.Context, cmd remote.Cmd) (remote.Output, error) {
	p := exec.CommandContext(ctx, c.shell[0], append(c.shell[1:], "-c", strings.NewReplacer(pendingPath, c.dir+"/pending", "/run/systemd/system", c.dir).Replace(cmd.Script))...)
	p.Env = []string{"PATH=" + c.dir + ":" + os.Getenv("PATH")}
	var out, errs bytes.Buffer
	p.Stdout, p.Stderr = &out, &errs
	err := p.Run()
	if ee := (*exec.ExitError)(nil); errors.As(err, &ee) {
		err = nil
	}
	return remote.Output{Stdout: out.Bytes(), Stderr: errs.Bytes(), ExitCode: p.ProcessState.ExitCode()}, err
}

func (c stubConn) WriteFile(context.Context, remote.File, bool) error {
	return errors.New("not scripted")
}

func (c stubConn) Close() error { return nil }

const (
	runningUnit = "echo ActiveState=active; echo SubState=running; echo MainPID=7; echo InvocationID=0123abcd\n"
	// A journal that knows starts: what the present one logged, and what an older process did since.
	journalOfStarts = `case $* in *_SYSTEMD_INVOCATION_ID=0123abcd*|*_PID=7\ *) cat $d/fresh;; *) cat $d/fresh; echo "INFO Fetched new bot identity of the old process";; esac
`
)

func TestVerifyScript(t *testing.T) {
	t.Parallel()
	const joined = "INFO [TBOT:IDEN] Fetched new bot identity identity:x"
	refused := strings.Join(journalSample(t, "degraded-17.5.3"), "\n")
	for _, c := range []struct {
		name, version string
		systemd       int
		readyz        map[string]int // path → status; nil: no address
		journal       string
		systemctl     string
		joined        string // what says so; "" for not
		code          string // why not
	}{
		{name: "200 after the join", version: "16.4.7", readyz: map[string]int{"/readyz": 200}, joined: "readyz"},
		{name: "200 that proves nothing", version: "17.5.3", readyz: map[string]int{"/readyz": 200}, code: "join-unknown"},
		{name: "a refused re-join behind a 200", version: "17.5.3", readyz: map[string]int{"/readyz": 200}, journal: refused, code: "no-rule"},
		{name: "200 of every service", version: "18.8.0", readyz: map[string]int{"/readyz": 200}, joined: "readyz"},
		{name: "503 for another service", version: "18.8.0", readyz: map[string]int{"/readyz": 503, "/readyz/identity": 200}, joined: "readyz"},
		{name: "503 for the bot's own", version: "18.8.0", readyz: map[string]int{"/readyz": 503, "/readyz/identity": 503}, code: "not-joined"},
		{name: "503 that is out of date", version: "18.7.6", readyz: map[string]int{"/readyz": 503, "/readyz/identity": 503}, journal: refused + "\n" + joined, joined: "journal"},
		{name: "an unknown version that knows health", readyz: map[string]int{"/readyz": 200, "/readyz/identity": 200}, joined: "readyz"},
		{name: "an unknown version that doesn't", readyz: map[string]int{"/readyz": 200, "/readyz/identity": 404}, code: "join-unknown"},
		{name: "the journal alone", version: "15.3.0", journal: joined, joined: "journal"},
		{name: "an old process logged after the facts", version: "15.3.0", code: "join-unknown"},
		{name: "an old systemd knows no starts", version: "15.3.0", systemd: 219, journal: joined, joined: "journal"},
		{name: "an old process, which an old systemd doesn't tell", version: "15.3.0", systemd: 219, code: "join-unknown"},
		{name: "a renewal that was refused after the join", version: "18.0.1", journal: joined + "\n" + refused, code: "no-rule"},
		{name: "a refused re-join without an address", version: "18.0.1", journal: refused, code: "no-rule"},
		{name: "tbot ends again and again", version: "18.8.0", journal: strings.Join(journalSample(t, "lock-held"), "\n"), code: "storage-in-use",
			systemctl: "n=$(cat $d/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n >$d/n\necho ActiveState=active; echo SubState=running; echo MainPID=$n; echo InvocationID=0123abcd\n"},
	} {
		shells := [][]string{{"dash"}}
		if c.joined == "journal" || c.systemctl != "" {
			shells = append(shells, []string{"bash", "--posix"}, []string{"busybox", "ash"})
		}
		for _, shell := range shells {
			t.Run(c.name+", "+shell[0], func(t *testing.T) {
				t.Parallel()
				if _, err := exec.LookPath(shell[0]); err != nil {
					t.Skip(err)
				}
				systemctl := c.systemctl
				if systemctl == "" {
					systemctl = runningUnit
				}
				conn := newStubConn(t, shell, map[string]string{"systemctl": systemctl, "journalctl": journalOfStarts, "sleep": "exec /bin/sleep 0.1\n"})
				if err := os.WriteFile(filepath.Join(conn.dir, "fresh"), []byte(c.journal+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				d := Desired{Tbot: config.Tbot{Storage: "/var/lib/teleport/bot"}}
				if c.readyz != nil {
					d.Tbot.DiagAddr = serve(t, c.readyz)
				}
				limit := time.Second
				if c.joined != "" {
					limit = 20 * time.Second
				}
				f := &Facts{Systemd: 252}
				if c.systemd != 0 {
					f.Systemd = c.systemd
				}
				f.tbot.version, _ = versions.Parse(c.version)
				h, err := Verify(t.Context(), conn, f, d, VerifyOptions{Watch: time.Second, Limit: limit})
				if err != nil {
					t.Fatal(err)
				}
				if h.Joined() != (c.joined != "") || h.By != c.joined && h.Joined() {
					t.Errorf("got %+v", h)
				}
				if got := h.Explain(0); !h.Joined() && string(got.Code) != c.code {
					t.Errorf("got %+v, want %s", got, c.code)
				}
			})
		}
	}
}

// TestFactsHaveTheHealth reads what a health address says, by the script of facts.
func TestFactsHaveTheHealth(t *testing.T) {
	t.Parallel()
	body := readyzSample(t, "503-service")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(body)) //nolint:errcheck // a test
	}))
	t.Cleanup(srv.Close)
	conn := newStubConn(t, []string{"dash"}, map[string]string{"systemctl": "case $* in *version*) echo 'systemd 252 (252.1)';; *) " + strings.ReplaceAll(runningUnit, "\n", "") + ";; esac\n"})
	cfg := enrolltest.Config()
	cfg.Tbot.DiagAddr = ":" + srv.URL[strings.LastIndex(srv.URL, ":")+1:]
	f := gather(t, conn, testDesired(t, cfg, inventory.Host{Name: "web-01"}))
	f.tbot.version = version("18.8.0")
	if f.Ready() != "503" || !strings.Contains(f.Trouble(), "output is unhealthy (generating identity: access denied") || f.Active() != "active" || f.Systemd != 252 {
		t.Errorf("got %q, %q: %+v", f.Ready(), f.Trouble(), f)
	}
	srv.Close()
	if f = gather(t, conn, testDesired(t, cfg, inventory.Host{Name: "web-01"})); f.Ready() != "000" || f.Trouble() == "" {
		t.Errorf("nobody listens: got %q, %q", f.Ready(), f.Trouble())
	}
}

// serve answers as tbot's health address does.
func serve(t *testing.T, status map[string]int) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, ok := status[r.URL.Path]
		if !ok {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
		w.Write([]byte("{\n  \"status\": \"x\"\n}\n")) //nolint:errcheck // a test
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// TestHTTPByWhateverIsThere gets a status and a body with curl, bash and wget alone.
func TestHTTPByWhateverIsThere(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"curl", "bash", "wget", "busybox wget"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			only := strings.Fields(program)[len(strings.Fields(program))-1]
			conn := newStubConn(t, []string{"dash"}, nil)
			hide := "has() { [ \"$1\" = " + only + " ]; }\n"
			if program == "busybox wget" {
				hide += "wget() { busybox wget \"$@\"; }\n"
			}
			addr := serve(t, map[string]int{"/readyz": 200, "/bad": 503})
			host, port, _ := strings.Cut(addr, ":")
			works := map[string]string{"curl": "curl -s", "bash": "bash -c : #"}[program]
			if works == "" {
				works = program + " -T 3 -O x" // some builds of busybox crash here
			}
			if err := exec.Command("sh", "-c", "cd "+conn.dir+" && "+works+" http://"+addr+"/readyz").Run(); err != nil {
				t.Skip("it doesn't work here: ", err)
			}
			for path, want := range map[string]string{"/readyz": "200\n{\n  \"status\": \"x\"\n}\n", "/bad": "503\n{\n  \"status\": \"x\"\n}\n"} {
				out, err := conn.Run(t.Context(), remote.Cmd{Script: scriptPrelude + hide + "http " + host + " " + port + " " + path})
				if only == "wget" && path == "/bad" {
					want = "503\n"
				}
				if err != nil || string(out.Stdout) != want {
					t.Errorf("%s: got %q, want %q; %v, %s", path, out.Stdout, want, err, out.Stderr)
				}
			}
			out, err := conn.Run(t.Context(), remote.Cmd{Script: scriptPrelude + hide + "http 127.0.0.1 1 /readyz"})
			if err != nil || string(out.Stdout) != "000\n" {
				t.Errorf("nobody listens: got %q, %v", out.Stdout, err)
			}
		})
	}
}

// TestVerifyNamesWhoHasTheAddress has a tbot that ends because this test listens where it wants to.
func TestVerifyNamesWhoHasTheAddress(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	inEach(t, func(t *testing.T, shell []string) {
		conn := newStubConn(t, shell, map[string]string{
			"systemctl": "echo ActiveState=failed; echo SubState=failed; echo MainPID=0; echo InvocationID=0123abcd\n", "journalctl": journalOfStarts,
		})
		journal := "ERROR: listening\n\tlisten tcp " + l.Addr().String() + ": bind: address already in use\n"
		if err := os.WriteFile(filepath.Join(conn.dir, "fresh"), []byte(journal), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := Verify(t.Context(), conn, &Facts{Systemd: 252, tbot: tbotFacts{version: version("18.8.0")}}, Desired{}, VerifyOptions{Limit: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if r := h.Explain(0); r.Code != outcome.AddressInUse || !strings.Contains(r.Message, fmt.Sprintf("(process %d)", os.Getpid())) {
			t.Errorf("got %+v", r)
		}
	})
}
