package cluster_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/tbot"
	"fleetctl/test/swtpm"
)

func TestJoins(t *testing.T) {
	s := newSite(t)
	ca, certified, bare := tpms(t)
	cert, hash := identify(t, certified), identify(t, bare)
	if cert["EKCert Detected"] != "true" || hash["EKCert Detected"] != "false" {
		t.Fatalf("EKCerts: %v %v", cert, hash)
	}
	byHash := "ek_public_hash: " + cert["EKPub Hash"]
	bareHash := "ek_public_hash: " + hash["EKPub Hash"]
	s.create(bot)
	s.create(token(t, "hash", byHash, "") + token(t, "ca", byHash, ca.Issuer()) + token(t, "root", byHash, ca.Root()) +
		token(t, "upper", "ek_public_hash: "+strings.ToUpper(cert["EKPub Hash"]), "") +
		token(t, "bare", bareHash, "") + token(t, "bare-ca", bareHash, ca.Issuer()) +
		token(t, "serial", byHash+`, ek_certificate_serial: "`+cert["EKCert Serial"]+`"`, "") +
		token(t, "bare-serial", bareHash+`, ek_certificate_serial: "01"`, ""))
	for _, c := range []struct {
		name  string
		tpm   *swtpm.TPM
		token string
		want  string // part of the reason; "" joins
	}{
		{"a rule with the hash admits the TPM", certified, "hash", ""},
		{"the EKCert's issuer as allowed CA admits it", certified, "ca", ""},
		{"the root alone does not, there are no intermediates", certified, "root", "verifying EK cert"},
		{"hashes are compared case by case", certified, "upper", "did not match any allow rules"},
		{"hash and serial must both match", certified, "serial", ""},
		{"a TPM without EKCert joins by its hash", bare, "bare", ""},
		{"a TPM without EKCert cannot join where CAs are set", bare, "bare-ca", "did not provide an EKCert"},
		{"a TPM without EKCert never matches a serial", bare, "bare-serial", "did not match any allow rules"},
		{"another TPM's rule does not admit it", bare, "hash", "did not match any allow rules"},
		{"a token that is not there admits nobody", bare, "none", "expired or not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := *s
			site.t = t
			got := site.join(c.tpm, c.token, "")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("join said %q, want %q", got, c.want)
			}
		})
	}
	joined, err := s.store.JoinedHashes("fleet")
	if err != nil || len(joined) != 2 {
		t.Errorf("joined: %v, %v", joined, err)
	}
	out, _, _ := s.tctl("", "get", "bot_instance", "--format", "json")
	if !strings.Contains(out, `"ek_pub_hash": "`+cert["EKPub Hash"]+`"`) {
		t.Errorf("bot_instance does not name the TPM:\n%s", out)
	}
}

func TestActivationFailsWithTheCertificateOfAnotherTPM(t *testing.T) {
	s := newSite(t)
	_, certified, bare := tpms(t)
	cert, err := certified.ReadCert()
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.WriteCert(cert); err != nil {
		t.Fatal(err)
	}
	said := identify(t, bare)
	if said["EKPub Hash"] != identify(t, certified)["EKPub Hash"] {
		t.Fatal("the TPM does not present the other's certificate")
	}
	s.create(bot)
	s.create(token(t, "fleet", "ek_public_hash: "+said["EKPub Hash"], ""))
	if got := s.join(bare, "fleet", ""); !strings.Contains(got, "asking client to perform credential activation") {
		t.Errorf("join said %q", got)
	}
}

func TestRenewalKeepsTheInstanceAndFailsOnceTheRuleIsGone(t *testing.T) {
	s := newSite(t)
	_, certified, _ := tpms(t)
	rule := "ek_public_hash: " + identify(t, certified)["EKPub Hash"]
	s.create(bot)
	s.create(token(t, "fleet", rule, ""))
	dir := t.TempDir()
	path := filepath.Join(dir, "tbot.yaml")
	write(t, path, "version: v2\nproxy_server: "+s.addr+"\nonboarding: {join_method: tpm, token: fleet}\n"+
		"storage: {type: directory, path: \""+filepath.Join(dir, "bot")+"\"}\n"+
		"services:\n- type: identity\n  destination: {type: directory, path: "+filepath.Join(dir, "out")+"}\n")
	for range 2 {
		var errs strings.Builder
		if code := tbot.Main([]string{"start", "-c", path, "--oneshot"}, io.Discard, &errs); code != 0 {
			t.Fatal(errs.String())
		}
	}
	instances, err := s.store.Instances("fleet")
	if err != nil || len(instances) != 1 || len(instances[0].Status.LatestAuthentications) != 2 {
		t.Fatalf("want one instance with two joins: %v, %v", instances, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "identity")); err != nil {
		t.Error(err)
	}
	s.create(token(t, "fleet", "ek_public_hash: "+strings.Repeat("f", 64), ""))
	var errs strings.Builder
	if code := tbot.Main([]string{"start", "-c", path, "--oneshot"}, io.Discard, &errs); code != 1 ||
		!strings.Contains(errs.String(), "did not match any allow rules") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

func TestTbotTakesAndRefuses(t *testing.T) {
	s := newSite(t)
	_, certified, _ := tpms(t)
	s.create(bot + token(t, "fleet", "ek_public_hash: "+identify(t, certified)["EKPub Hash"], ""))
	for _, c := range []struct{ name, extra, want string }{
		{"an unknown key is dropped", "colour: red\n", ""},
		{"an unknown type of service", "services: [{type: coffee}]\n", "unrecognized service type (coffee)"},
		{"an unknown key of an identity is dropped", "services: [{type: identity, colour: red, destination: {type: memory}}]\n", ""},
		{"a renewal that comes too late", "renewal_interval: 2h\n", "must be lower"},
		{"a proxy and an auth server", "proxy_server: a:1\n", "can not both be set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := *s
			site.t = t
			if got := site.join(certified, "fleet", c.extra); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("join said %q, want %q", got, c.want)
			}
		})
	}
}

func TestTokensThatHaveExpiredAdmitNobody(t *testing.T) {
	s := newSite(t)
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	s.create(strings.Replace(token(t, "old", "ek_public_hash: "+strings.Repeat("a", 64), ""),
		"name: old", "name: old, expires: "+past, 1))
	if _, err := s.store.Token("old"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}
