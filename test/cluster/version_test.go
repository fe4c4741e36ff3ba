package cluster_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
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

func TestTbotTakesWhatItsVersionTakes(t *testing.T) {
	s, _, _ := ready(t)
	const identity = "services: [{type: identity, destination: {type: memory}}]\n"
	for _, c := range []struct {
		name, version, extra string
		flags                []string
		want                 string // in the journal of one that ends; "" joins
	}{
		{"a PID file before it", "17.7.9", "", []string{"--pid-file=/dev/null"}, "unknown long flag '--pid-file'"},
		{"a PID file", "17.7.10", "", []string{"--pid-file=" + filepath.Join(t.TempDir(), "pid")}, ""},
		{"a PID file in the line of 18 before it", "18.3.2", "", []string{"--pid-file=/dev/null"}, "unknown long flag '--pid-file'"},
		{"the updater's socket before it", "18.3.2", "", []string{"--diag-socket-for-updater=x"}, "unknown long flag '--diag-socket-for-updater'"},
		{"the updater's socket", "18.4.0", "", []string{"--diag-socket-for-updater=" + filepath.Join(t.TempDir(), "s")}, ""},
		{"an unknown key in a strict version", "17.2.7", "typo: 1\n", nil, "line 5: field typo not found in type config.BotConfig"},
		{"credential_ttl before it", "17.2.7", "credential_ttl: 1h\n", nil, "field credential_ttl not found"},
		{"certificate_ttl then", "17.2.7", "certificate_ttl: 1h\n", nil, ""},
		{"certificate_ttl later", "18.8.0", "certificate_ttl: 1h\n", nil, ""},
		{"credential_ttl", "17.2.8", "credential_ttl: 1h\ntypo: 1\n", nil, ""},
		{"two unknown keys", "16.4.7", "a: 1\nb: 1\n", nil, "yaml: unmarshal errors:  line 5: field a not found in type config.BotConfig  line 6: field b"},
		{"an output among services", "16.0.4", identity, nil, "unrecognized service type (identity)"},
		{"an output among outputs", "15.3.0", strings.Replace(identity, "services", "outputs", 1), nil, ""},
		{"an output among services of 15.4", "15.4.9", identity, nil, ""},
		{"an alias of services", "19.0.0", strings.Replace(identity, "services", "outputs", 1), nil, ""},
		{"a type that came later", "17.3.0", "services: [{type: workload-identity-aws-roles-anywhere}]\n", nil, "unrecognized service type (workload-identity-aws-roles-anywhere)"},
		{"a type that is there", "17.4.0", "services: [{type: workload-identity-aws-roles-anywhere}]\n", nil, ""},
		{"roles", "18.8.0", strings.Replace(identity, "identity,", "identity, roles: [a],", 1), nil, ""},
		{"roles in 19", "19.0.0", strings.Replace(identity, "identity,", "identity, roles: [a],", 1), nil, "validating service[0]\n\troles: the roles field"},
		{"half a TTL", "17.2.8", strings.Replace(identity, "identity,", "identity, credential_ttl: 1h,", 1), nil, "must both be specified"},
		{"half a TTL before that was a key", "17.2.7", strings.Replace(identity, "identity,", "identity, credential_ttl: 1h,", 1), nil, ""},
		{"the same name twice", "18.0.2", "services: [{type: identity, name: a, destination: /x}, {type: identity, name: a, destination: /y}]\n", nil, `duplicate name: "a"`},
		{"FIPS", "18.0.2", "fips: true\n", nil, "not compiled with boringcrypto"},
		{"what is not played", "18.0.2", "", []string{"--log-format=json"}, "STAND-IN FOR TBOT: NOT SCRIPTED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := *s
			site.t = t
			code, said := site.host("fleet", c.extra).once(c.version, c.flags...)
			if (code == 0) != (c.want == "") || !strings.Contains(said, c.want) {
				t.Errorf("exit %d, want %q:\n%s", code, c.want, said)
			}
		})
	}
}

func TestReadyzByVersion(t *testing.T) {
	s, _, _ := ready(t)
	for _, c := range []struct {
		version       string
		whole, named  int
		body, notBody string
	}{
		{"15.4.20", 200, 404, "OK", "{"},
		{"17.5.3", 200, 404, "OK", "{"},
		{"17.5.4", 200, 200, `"status": "healthy"`, `"pid"`},
		{"18.0.1", 200, 404, "OK", "{"},
		{"18.4.0", 200, 200, `"pid": `, ""},
	} {
		r := s.host("fleet", "services: [{type: identity, destination: {type: directory, path: "+t.TempDir()+"}}]\n").start(t, c.version)
		r.until("200", func() bool { code, _ := r.get("/readyz"); return code == 200 })
		r.until("joined", r.says("Fetched new bot identity"))
		code, body := r.get("/readyz")
		if code != c.whole || !strings.Contains(body, c.body) || c.notBody != "" && strings.Contains(body, c.notBody) {
			t.Errorf("%s: %d %s", c.version, code, body)
		}
		if code, body := r.get("/readyz/identity"); code != c.named {
			t.Errorf("%s: /readyz/identity: %d %s", c.version, code, body)
		}
		if code, body := r.get("/readyz/nope"); code != 404 || c.named == 200 && !strings.Contains(body, `Service named \"nope\" not found.`) {
			t.Errorf("%s: /readyz/nope: %d %s", c.version, code, body)
		}
		if code, body := r.get("/livez"); code != 200 || body != "OK" {
			t.Errorf("%s: /livez: %d %s", c.version, code, body)
		}
		r.stop()
	}
}

// TestARefusedRejoin is versions.md, C and D: which versions end, and what /readyz says of those that don't.
func TestARefusedRejoin(t *testing.T) {
	s, _, admit := ready(t)
	foreign := token(t, "fleet", "ek_public_hash: "+strings.Repeat("f", 64), "")
	for _, c := range []struct {
		version       string
		before, after int // /readyz while it is refused, and once a retry has succeeded; 0: it ends
	}{
		{"15.4.20", 0, 0}, {"17.5.2", 0, 0}, {"17.5.3", 200, 200}, {"17.5.4", 503, 503}, {"18.0.0", 0, 0}, {"18.0.1", 200, 200},
		{"18.4.0", 503, 503}, {"18.8.0", 503, 200}, {"19.0.0", 503, 200},
	} {
		t.Run(c.version, func(t *testing.T) {
			site := *s
			site.t = t
			site.create(admit)
			h := site.host("fleet", "")
			if code, said := h.once(c.version); code != 0 {
				t.Fatal(said)
			}
			site.create(foreign)
			r := h.start(t, c.version)
			if c.before == 0 {
				if code := <-r.done; code != 1 || !strings.Contains(r.journal(), "did not match any allow rules") {
					t.Errorf("exit %d\n%s", code, r.journal())
				}
				return
			}
			r.until("degraded", r.says("Unable to renew bot identity on startup. Waiting to retry"))
			if code, body := r.get("/readyz"); code != c.before {
				t.Errorf("refused: %d %s", code, body)
			}
			site.create(admit)
			r.until("a retry", r.says("Fetched new bot identity"))
			r.until("its health", func() bool { code, _ := r.get("/readyz"); return code == c.after })
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGHUP)
			r.until("a renewal", func() bool { return strings.Count(r.journal(), "Fetched new bot identity") > 1 })
			r.until("health", func() bool { code, _ := r.get("/readyz"); return code == 200 })
			r.stop()
		})
	}
}

func TestAFirstJoinIsFatalAndAnotherTokensIdentityDoesNotCount(t *testing.T) {
	s, _, _ := ready(t)
	for _, version := range []string{"15.4.20", "17.5.3", "18.8.0", "19.0.0"} {
		h := s.host("fleet", "")
		if code, said := h.once(version); code != 0 {
			t.Fatal(said)
		}
		h.write(t, s.addr, "other", "")
		r := h.start(t, version)
		if code := <-r.done; code != 1 || !strings.Contains(r.journal(), "token expired or not found") {
			t.Errorf("%s: exit %d\n%s", version, code, r.journal())
		}
		if said := r.journal(); strings.Contains(said, "does not match configured token") != (version != "15.4.20") {
			t.Errorf("%s: %s", version, said)
		}
	}
}

func TestASecondTbotIsKeptOut(t *testing.T) {
	s, _, _ := ready(t)
	h := s.host("fleet", "")
	r := h.start(t, "18.8.0")
	r.until("joined", r.says("Identity initialized successfully"))
	if code, said := h.once("18.8.0"); code != 1 || !strings.Contains(said, "Failed to acquire exclusive lock") {
		t.Errorf("exit %d: %s", code, said)
	}
	r.stop()
}

func TestAServiceThatCannotWriteIsUnhealthy(t *testing.T) {
	s, _, _ := ready(t)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	h := s.host("fleet", "services: [{type: identity, name: out, destination: "+file+"/x}]\n")
	r := h.start(t, "18.8.0")
	r.until("503", func() bool { code, _ := r.get("/readyz/out"); return code == 503 })
	r.until("joined", func() bool { code, _ := r.get("/readyz/identity"); return code == 200 })
	_, body := r.get("/readyz")
	var said struct {
		Status   string
		Services map[string]struct{ Status, Reason string }
	}
	if err := json.Unmarshal([]byte(body), &said); err != nil || said.Status != "unhealthy" ||
		!strings.HasPrefix(said.Services["out"].Reason, "generating identity\n\t") {
		t.Errorf("%v %s", err, body)
	}
	r.stop()
}

func TestCommandsOfTbotByVersion(t *testing.T) {
	_, certified, bare := tpms(t)
	for _, c := range []struct {
		version, args string
		code          int
		want          string // a pattern for all that is printed
	}{
		{"17.5.4", "version", 0, `^Teleport Enterprise v17\.5\.4 git:v17\.5\.4-0-g\w+ go1\.\S+\n$`},
		{"17.7.16", "wait --diag-addr=x", 1, `ERROR: \x1b\[0mexpected command but got "wait"\n\n$`},
		{"16.0.4", "install systemd -c x", 1, `expected command but got "install"`},
		{"16.1.0", "install systemd -c /etc/t.yaml --name=x", 0, "^# Generated by `tbot`\n(?s:.*)Description=x - Teleport Machine ID Service\n" +
			`(?s:.*) start -c /etc/t\.yaml\nExecReload=/bin/kill -HUP \$MAINPID\nPIDFile=/run/x\.pid\n`},
		{"18.4.0", "install systemd -c /etc/t.yaml", 0, `start -c /etc/t\.yaml --pid-file=/run/tbot\.pid\n`},
		{"18.4.0", "install systemd -c /etc/t.yaml --pid-file=/x", 1, `unknown long flag '--pid-file'`},
		{"18.6.5", "install systemd -c /etc/t.yaml --pid-file=/x", 0, `--pid-file=/x\n(?s:.*)PIDFile=/x\n`},
		{"18.8.0", "keypair create", 99, "NOT SCRIPTED"},
		{"18.8.0", "start database", 99, "NOT SCRIPTED"},
		{"18.8.0", "tpm identify", 0, `^TPM Information\nEKPub Hash: [0-9a-f]{64}\nEKCert Detected: true\nEKCert Serial: [0-9a-f:]+\n$`},
		{"15.3.0", "tpm identify", 0, `^TPM Information:\nEKPub Hash: `},
		{"18.8.0", "tpm identify -d", 0, `BEGIN CERTIFICATE(?s:.*)BEGIN PUBLIC KEY`},
	} {
		t.Setenv("STANDIN_TPM", certified.Socket)
		var out strings.Builder
		code := tbot.Run(enterprise(c.version), strings.Fields(c.args), &out, &out)
		if code != c.code || !regexp.MustCompile(c.want).MatchString(out.String()) {
			t.Errorf("%s %s: exit %d, %q", c.version, c.args, code, out.String())
		}
	}
	if said := identify(t, bare); said["EKCert Detected"] != "false" || len(said) != 3 {
		t.Error(said)
	}
}

func TestTctlByVersion(t *testing.T) {
	s := newSite(t)
	tok := func(fields string) string {
		return token(t, "fleet", "ek_public_hash: "+strings.Repeat("a", 64)+fields, "")
	}
	serial := token(t, "serial", `ek_certificate_serial: "01"`, "")
	for _, c := range []struct {
		name, version string
		server        cluster.Server
		file, args    string
		code          int
		want          string // the end of both outputs
	}{
		{"an unknown field is dropped", "17.7.16", cluster.Server{}, tok(", color: red"), "create -f", 0, "provision_token \"fleet\" has been created\n"},
		{"an unknown field is refused", "18.0.0", cluster.Server{}, tok(", color: red"), "create -f", 1, "unknown field \"color\"\n\n"},
		{"a token is replaced without -f", "15.4.20", cluster.Server{}, tok(""), "create", 0, "provision_token \"fleet\" has been created\n"},
		{"a bot", "15.4.20", cluster.Server{}, bot, "create", 0, "bot \"fleet\" has been created\n"},
		{"a bot again", "15.4.20", cluster.Server{}, bot, "create", 1, "already exists\n\n"},
		{"a bot again with -f", "15.4.20", cluster.Server{}, bot, "create -f", 0, "bot \"fleet\" has been created\n"},
		{"a serial alone", "18.10.0", cluster.Server{}, serial, "create", 0, "has been created\n"},
		{"a serial alone is refused", "18.10.1", cluster.Server{}, strings.ReplaceAll(serial, "01", "02"), "create", 1, "ek_certificate_serial needs ek_public_hash or ekcert_allowed_cas\n\n"},
		{"an old serial alone is kept", "19.0.0", cluster.Server{}, serial, "create", 0, "has been created\n"},
		{"a token that is not there", "18.8.0", cluster.Server{}, "", "get token/nothing-there", 1, "\x1b[31mERROR: \x1b[0mprovisioning token(*********here) not found\n\n"},
		{"a bot that is not there", "18.8.0", cluster.Server{}, "", "get bot/none", 1, "\x1b[31mERROR: \x1b[0mfetching bot user\n\tuser \"bot-none\" not found\n\n"},
		{"no bot instances yet", "16.4.5", cluster.Server{}, "", "get bot_instance", 1, "getting \"bot_instance\" is not supported\n\n"},
		{"bot instances", "16.4.6", cluster.Server{}, "", "get bot_instance/fleet --format=json", 0, "[]\n"},
		{"a second factor for tokens", "18.8.0", cluster.Server{MFA: true}, "", "get token/fleet", 1, "admin-level API request requires MFA verification\n\n"},
		{"none for bot instances", "18.8.0", cluster.Server{MFA: true}, "", "get bot_instance --format=json", 0, "[]\n"},
		{"no licence", "18.8.0", cluster.Server{OSS: true}, tok(""), "create -f", 1, "tpm joining\n\tthis feature requires Teleport Enterprise\n\n"},
		{"no right", "18.8.0", cluster.Server{Denied: []string{"read token"}}, "", "get token/fleet", 1, "access denied to perform action \"read\" on \"token\"\n\n"},
		{"no right to delete", "18.8.0", cluster.Server{Denied: []string{"delete token"}}, "", "rm token/fleet", 1, "access denied to perform action \"delete\" on \"token\"\n\n"},
		{"status", "18.8.0", cluster.Server{}, "", "status", 0, "Version  18.8.0\nhost CA  never updated\nuser CA  never updated\nCA pin   sha256:" + strings.Repeat("cd", 32) + "\n"},
		{"an unknown flag", "18.8.0", cluster.Server{}, "", "get token/x --json", 1, "unknown long flag '--json'\n\n"},
		{"another command", "18.8.0", cluster.Server{}, "", "users ls", 99, "STAND-IN FOR TCTL: NOT SCRIPTED: tctl users ls\n"},
		{"a deletion", "18.8.0", cluster.Server{}, "", "rm token/fleet", 0, "token \"fleet\" has been deleted\n"},
		{"a second deletion", "18.8.0", cluster.Server{}, "", "rm token/fleet", 1, "provisioning token(***et) not found\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.Version = c.version
			s.play(c.server)
			out, errs, code := s.as(c.version, c.file, strings.Fields(c.args)...)
			if code != c.code || !strings.HasSuffix(out+errs, c.want) {
				t.Errorf("exit %d: %q", code, out+errs)
			}
		})
	}
	s.play(cluster.Server{Version: "18.8.0", Alerts: []string{"The licence ends soon."}})
	if out, errs, _ := s.as("18.8.0", "", "status"); !strings.HasPrefix(out, "Cluster ") || errs != "The licence ends soon.\n\n" {
		t.Errorf("%q %q", out, errs)
	}
}

func TestBotInstancesByVersion(t *testing.T) {
	s, _, _ := ready(t)
	if code, said := s.host("fleet", "").once("18.8.0"); code != 0 {
		t.Fatal(said)
	}
	for _, c := range []struct {
		version, want, not string
		metadata           bool
	}{
		{"16.4.7", `"seconds": `, "join_attrs", false},
		{"16.4.7", `"StringValue": "`, "join_attrs", true},
		{"17.1.0", `"seconds": `, "ek_pub_hash", false},
		{"17.5.0", `"join_attrs"`, "metadata\": {\n        \"fields", false},
		{"17.5.1", `"authenticated_at": "20`, `"seconds"`, false},
		{"19.0.0", `"authenticated_at": "20`, `"seconds"`, false},
	} {
		s.play(cluster.Server{Version: c.version, MetadataHash: c.metadata})
		out, errs, code := s.as(c.version, "", "get", "bot_instance/fleet", "--format=json")
		if code != 0 || !strings.Contains(out, c.want) || strings.Contains(out, c.not) {
			t.Errorf("%s: %s%s", c.version, out, errs)
		}
	}
}

func TestGenerationsAreCountedAndNotChecked(t *testing.T) {
	s, _, _ := ready(t)
	h := s.host("fleet", "")
	for range 3 {
		if code, said := h.once("18.8.0"); code != 0 {
			t.Fatal(said)
		}
	}
	list, err := s.store.Instances("fleet")
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if latest := list[0].Status.LatestAuthentications; len(latest) != 3 || latest[2].Generation != 3 {
		t.Error(latest)
	}
}
