package cluster_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

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
