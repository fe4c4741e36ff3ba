// Package tokens holds the tokens that fleetctl makes against Teleport's own types.
package tokens

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/config"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/enroll/tpm"
	"fleetctl/test/cluster"
)

var now = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

// fleet is what a random fleet is made of.
type fleet struct {
	rnd   *mrand.Rand
	cas   *tpm.CASet
	certs [][]byte // EK certificates of all kinds
}

func newFleet(t *testing.T, seed uint64) *fleet {
	t.Helper()
	f := &fleet{rnd: mrand.New(mrand.NewPCG(seed, 7))}
	var bundle []*x509.Certificate
	for i := range 3 {
		ca, key := newCA(t, fmt.Sprintf("TPM CA %d", i))
		if i > 0 { // the first is not in the bundle
			bundle = append(bundle, ca)
		}
		f.certs = append(f.certs, leaf(t, ca, key, now.AddDate(5, 0, 0)), leaf(t, ca, key, now.AddDate(-1, 0, 0)))
	}
	f.cas = tpm.NewCASet(bundle...)
	return f
}

func newCA(t *testing.T, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.AddDate(-9, 0, 0), NotAfter: now.AddDate(9, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	cert, err := x509.ParseCertificate(sign(t, template, template, key, key))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func leaf(t *testing.T, ca *x509.Certificate, key *ecdsa.PrivateKey, until time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x5ecd5f8e), Subject: pkix.Name{CommonName: "TPM"},
		NotBefore: now.AddDate(-9, 0, 0), NotAfter: until,
	}
	return sign(t, template, ca, key, key)
}

func sign(t *testing.T, template, parent *x509.Certificate, subject, issuer *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &subject.PublicKey, issuer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Names that a YAML reader, a terminal or a template language could take for something else.
var nasty = []string{
	"web-01", "web 02", "12:34:56", "1e5", "no", "null", "~", "- x", "a: b", "# x", "'", "\"", "${x}", "%{y}", "{{ z }}", "\x1b[31mred",
	"ü.example", "日本", "a\nb", "\xff\xfe", "!!binary x", "&a", "*a", "@", "`", "\u202eabc", "0x10", "=1+1", strings.Repeat("long-", 80),
}

func (f *fleet) input(hosts int) token.Input {
	in := token.Input{
		Policy: config.Token{
			Name: f.pick("fleet", "a.b", "X_1"), Kind: f.pick(token.KindBot, token.KindBot, token.KindNode),
			WithoutEKCert: "hash-only", Match: f.pick("hash", "hash+serial"),
			MaxRules: 1 + f.rnd.IntN(50), MaxBytes: 8192 + f.rnd.IntN(20000),
		},
		Bot:   config.Bot{Name: "fleet", Roles: []string{"fleet-access", "yes"}},
		BotOf: map[string]config.Bot{}, Now: now,
	}
	if f.rnd.IntN(2) == 0 {
		in.CAs = f.cas
	}
	for i := range hosts {
		r := store.Record{Host: fmt.Sprintf("%s-%d", nasty[f.rnd.IntN(len(nasty))], i)}
		r.Accepted = &store.Identity{EKHash: f.hash(), Proven: f.rnd.IntN(5) > 0}
		if n := f.rnd.IntN(len(f.certs) + 3); n < len(f.certs) {
			r.Accepted.EKCert, r.Accepted.EKSerial = f.certs[n], "5e:cd:5f:8e"
		}
		if f.rnd.IntN(4) == 0 {
			in.BotOf[r.Host] = config.Bot{Name: "db", Roles: []string{"db"}}
		}
		in.Records = append(in.Records, r)
	}
	return in
}

func (f *fleet) pick(choices ...string) string { return choices[f.rnd.IntN(len(choices))] }

// hash is a random EKPub hash, now and then one without letters.
func (f *fleet) hash() string {
	digits := "0123456789abcdef"
	if f.rnd.IntN(4) == 0 {
		digits = "0123456789"
	}
	var h strings.Builder
	for range 64 {
		h.WriteByte(digits[f.rnd.IntN(len(digits))])
	}
	return h.String()
}

// TestEveryFileIsWhatTeleportTakes reads every file of random fleets with Teleport's types, unknown fields rejected,
// and runs the server's checks; and holds the sizes that fleetctl counted against what the server would store.
func TestEveryFileIsWhatTeleportTakes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		f := newFleet(t, seed)
		in := f.input(1 + f.rnd.IntN(150))
		set, err := token.Plan(in)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		checkFiles(t, in, set)
	}
}

func checkFiles(t *testing.T, in token.Input, set *token.Set) {
	t.Helper()
	files, err := set.Files()
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]string{} // EK → token
	for name, content := range files {
		r, err := cluster.NewDecoder(strings.NewReader(string(content))).Next()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, content)
		}
		if r.Token == nil {
			if r.Bot.GetMetadata().GetName() == "" || len(r.Bot.GetSpec().GetRoles()) == 0 {
				t.Errorf("%s: bot without name or roles", name)
			}
			continue
		}
		checkSize(t, in, r)
		for _, rule := range r.Token.Spec.TPM.Allow {
			if rules[rule.EKPublicHash] != "" || !store.ValidEKHash(rule.EKPublicHash) {
				t.Errorf("%s: hash %q is not valid or not the only one", name, rule.EKPublicHash)
			}
			rules[rule.EKPublicHash] = r.Token.GetName()
		}
	}
	for _, rec := range in.Records {
		if rules[rec.Accepted.EKHash] != set.TokenOf(rec.Host) {
			t.Errorf("%q: its rule is in %q, its token is %q", rec.Host, rules[rec.Accepted.EKHash], set.TokenOf(rec.Host))
		}
	}
}

func checkSize(t *testing.T, in token.Input, r cluster.Resource) {
	t.Helper()
	stored, err := json.Marshal(r.Token)
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) > in.Policy.MaxBytes || len(r.Token.Spec.TPM.Allow) > in.Policy.MaxRules {
		t.Errorf("%s: %d bytes and %d rules; allowed are %d and %d", r.Name(), len(stored), len(r.Token.Spec.TPM.Allow),
			in.Policy.MaxBytes, in.Policy.MaxRules)
	}
}

// TestOtherShapesHoldTheSameToken compares the specs of Terraform and Kubernetes files with Teleport's types.
func TestOtherShapesHoldTheSameToken(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 99)
	in := f.input(40)
	in.Policy.Name = "fleet"
	set, err := token.Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	terraform, err := set.FilesAs(token.FormatTerraform)
	if err != nil {
		t.Fatal(err)
	}
	kubernetes, err := set.FilesAs(token.FormatKubernetes)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range set.Tokens {
		fromTerraform := parseTerraform(t, terraform[token.Name+".tf.json"])
		fromKubernetes := parseKubernetes(t, kubernetes[token.Name+".k8s.yaml"])
		for name, spec := range map[string]any{"terraform": fromTerraform, "kubernetes": fromKubernetes} {
			doc, err := json.Marshal(map[string]any{"kind": "token", "version": "v2", "metadata": map[string]any{"name": token.Name}, "spec": spec})
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := cluster.ParseToken(doc)
			if err != nil {
				t.Fatalf("%s %s: %v", name, token.Name, err)
			}
			for i, rule := range parsed.Spec.TPM.Allow {
				if rule.EKPublicHash != token.Rules[i].EKHash || rule.Description != token.Rules[i].Description {
					t.Errorf("%s %s: rule %d is %+v, want %+v", name, token.Name, i, rule, token.Rules[i])
				}
			}
			if len(parsed.Spec.TPM.EKCertAllowedCAs) != len(token.CAs) || parsed.Spec.BotName != token.Bot {
				t.Errorf("%s %s: %d CAs, bot %q", name, token.Name, len(parsed.Spec.TPM.EKCertAllowedCAs), parsed.Spec.BotName)
			}
		}
	}
}

func parseTerraform(t *testing.T, content []byte) any {
	t.Helper()
	content = []byte(strings.NewReplacer("$${", "${", "%%{", "%{").Replace(string(content))) // as Terraform's templates do
	var doc struct {
		Resource map[string]map[string]struct {
			Version  string
			Metadata struct{ Name string }
			Spec     map[string]any
		}
	}
	if err := json.Unmarshal(content, &doc); err != nil {
		t.Fatal(err)
	}
	for _, token := range doc.Resource["teleport_provision_token"] {
		return token.Spec
	}
	t.Fatalf("no teleport_provision_token in %s", content)
	return nil
}

func parseKubernetes(t *testing.T, content []byte) any {
	t.Helper()
	var doc struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Spec       map[string]any
	}
	if err := yaml.Unmarshal(content, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.APIVersion != "resources.teleport.dev/v2" || doc.Kind != "TeleportProvisionToken" {
		t.Errorf("%s %s", doc.APIVersion, doc.Kind)
	}
	return doc.Spec
}
