package records

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
)

const oldText = `TPM Information
EKPub Hash: 1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c
EKCert Detected: true
EKCert Serial: 5e:cd:5f:8e
`

const newText = "TPM Information\r\nEK Public Hash: 1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c\r\n" +
	"EK Certificate Detected: false\r\n"

func TestImportTakesWhatPeopleHave(t *testing.T) {
	t.Parallel()
	ca := enrolltest.NewAuthority(t, "A")
	cert := ca.Leaf(t, 300, 5)
	const hash = "1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c"
	certJSON, err := json.Marshal(map[string]any{"host": "c", "ek_certificate": cert})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, text, host, want string }{
		{"text of an older tbot", oldText, "a", "a ok unproven " + hash + " 5e:cd:5f:8e"},
		{"text of a newer tbot, with Windows line ends", newText, "a", "a ok unproven " + hash + " "},
		{"text with noise around it", "motd\n  " + oldText + "\nbye", "a", "a ok unproven " + hash + " 5e:cd:5f:8e"},
		{"JSON lines", `{"host":"a","ek_public_hash":"` + hash + `"}` + "\n" + `{"host":"b","ek_public_hash":"` + enrolltest.Hash(2) + `"}`, "",
			"a ok unproven " + hash + " ; b ok unproven " + enrolltest.Hash(2) + " "},
		{"an array", `[{"host":"a","ek_public_hash":"` + hash + `","ek_certificate_serial":"01"}]`, "", "a ok unproven " + hash + " 01"},
		{"a report", `{"identity":{"ek_public_hash":"` + hash + `"},"proven":true}`, "a", "a ok unproven " + hash + " "},
		{"an exported record", `{"host":"a","accepted":{"ek_public_hash":"` + hash + `","proven":true,"via":"helper"}}`, "",
			"a ok unproven " + hash + " "},
		{"a certificate alone", string(certJSON), "", "c ok unproven " + keyHash(t, cert) + " 01:2c"},
		{"a certificate as the TPM keeps it, padded", entryJSON(t, "c", append(bytes.Clone(cert), make([]byte, 300)...), ""), "",
			"c ok unproven " + keyHash(t, cert) + " 01:2c"},
		{"a certificate that tbot doesn't present, with the EK's hash", entryJSON(t, "c", []byte("no certificate"), hash), "",
			"c ok unproven " + hash + " "},
		{"a certificate that tbot doesn't present, alone", entryJSON(t, "c", []byte("no certificate"), ""), "", "c failed bad-input  "},
		{"a certificate whose key tbot can't use (RSAES-OAEP)", entryJSON(t, "c", oaep(t, cert), hash), "", "c failed bad-input  "},
		{"a byte order mark", "\xef\xbb\xbf" + oldText, "a", "a ok unproven " + hash + " 5e:cd:5f:8e"},
		{"two machines with one EK", `{"host":"a","ek_public_hash":"` + hash + `"}{"host":"b","ek_public_hash":"` + hash + `"}`, "",
			"a ok unproven " + hash + " ; b ok unproven " + hash + " "},
		{"no host", oldText, "", " failed bad-input  "},
		{"another host", `{"host":"a","ek_public_hash":"` + hash + `"}`, "b", "a failed bad-input  "},
		{"a name that would change the terminal", `{"host":"a\u001b[2J","ek_public_hash":"` + hash + `"}`, "", `a\x1b[2J failed bad-input  `},
		{"a hash in capitals", `{"host":"a","ek_public_hash":"` + strings.Repeat("A", 64) + `"}`, "", "a failed bad-input  "},
		{"a hash that is not the key's", `{"host":"a","ek_public_hash":"` + hash + `","ek_public":"AAAA"}`, "", "a failed bad-input  "},
		{"a serial that is none", `{"host":"a","ek_public_hash":"` + hash + `","ek_certificate_serial":"x"}`, "", "a failed bad-input  "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := enrolltest.Store(t)
			results, err := Import(t.Context(), st, strings.NewReader(tt.text), ImportOptions{Host: tt.host})
			if err != nil {
				t.Fatal(err)
			}
			var parts []string
			for _, r := range results {
				parts = append(parts, fmt.Sprintf("%s %s %s %s %s", r.Host, r.Outcome, r.Code, r.EKHash, r.Serial))
				if rec, err := st.Record(t.Context(), r.Host); r.Outcome == outcome.OK && (err != nil || rec.Accepted.Proven || rec.Accepted.Via != ViaImport) {
					t.Errorf("%s: %+v, %v", r.Host, rec.Accepted, err)
				}
			}
			if got := strings.Join(parts, "; "); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func entryJSON(t *testing.T, host string, cert []byte, hash string) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"host": host, "ek_certificate": cert, "ek_public_hash": hash})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// oaep gives a certificate with an RSA key the type id-RSAES-OAEP (RFC 4055, section 4.1), as some TPMs have it.
func oaep(t *testing.T, cert []byte) []byte {
	t.Helper()
	der, changed := rsaCertificate(t), 0
	plain, other := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07}
	for i := bytes.Index(der, plain); i >= 0; i = bytes.Index(der, plain) {
		copy(der[i:], other)
		changed++
	}
	if changed != 1 || bytes.Equal(der, cert) {
		t.Fatalf("%d keys in the certificate", changed)
	}
	return der
}

func rsaCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: enrolltest.Time, NotAfter: enrolltest.Time.AddDate(9, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func keyHash(t *testing.T, der []byte) string {
	t.Helper()
	e := importEntry{importIdentity: importIdentity{EKCert: der}}
	id, err := e.identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.EKHash
}

func TestImportRefusesFilesThatAreSomethingElse(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": " \n", "another text": "hello\n", "two hosts in one text": oldText + oldText, "broken JSON": `{"host":`,
		"JSON of something else": `{"host":5}`, "a contradiction": strings.Replace(oldText, "true", "false", 1),
		"a long text": strings.Repeat("x", maxIdentifyText+1),
	} {
		if r, err := Import(t.Context(), enrolltest.Store(t), strings.NewReader(text), ImportOptions{Host: "a"}); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestAnImportNeverReplacesWhatWasProven(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	enrolltest.See(t, st, "a", 1)
	results, err := Import(t.Context(), st, strings.NewReader(oldText), ImportOptions{Host: "a"})
	if err != nil || results[0].Code != "changed-ek" || results[0].Outcome != outcome.Failed {
		t.Errorf("%+v, %v", results, err)
	}
	if r, err := st.Record(t.Context(), "a"); err != nil || r.Accepted.EKHash != enrolltest.Hash(1) || !r.Accepted.Proven {
		t.Errorf("%+v, %v", r.Accepted, err)
	}
}

func TestAnExportHasCellsForSpreadsheets(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	enrolltest.See(t, st, "a", 1)
	r, err := st.Record(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	header, cells := ExportHeader(), ExportCells(r)
	if len(header) != len(cells) {
		t.Fatalf("%d cells under %d names", len(cells), len(header))
	}
	for name, want := range map[string]string{"host": "a", "ek_public_hash": enrolltest.Hash(1), "manufacturer": "IFX", "last_outcome": "ok"} {
		if got := cells[slices.Index(header, name)]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// A whole export is one object whose list is too long for memory; a line of one has the name of its schema, too.
func TestDocumentsOfRecordsCanBeImported(t *testing.T) {
	t.Parallel()
	host := func(name string, n int) string {
		return fmt.Sprintf("{\"host\": %q, \"accepted\": {\"ek_public_hash\": %q, \"via\": \"helper\", \"proven\": true}}", name, enrolltest.Hash(n))
	}
	for name, text := range map[string]string{
		"a document":        "{\n  \"schema\": \"fleetctl/export/v1\",\n  \"records\": [\n    " + host("a", 1) + ",\n    " + host("b", 2) + "\n  ]\n}\n",
		"in one line":       `{"schema":"fleetctl/export/v1","records":[` + host("a", 1) + "," + host("b", 2) + "]}",
		"lines":             `{"schema":"fleetctl/exported-record/v1",` + host("a", 1)[1:] + "\n" + `{"schema":"fleetctl/exported-record/v1",` + host("b", 2)[1:],
		"an array of older": "[\n" + host("a", 1) + ",\n" + host("b", 2) + "\n]\n",
	} {
		results, err := Import(t.Context(), enrolltest.Store(t), strings.NewReader(text), ImportOptions{TrustProofs: true})
		if err != nil || len(results) != 2 || results[1].Host != "b" || results[1].EKHash != enrolltest.Hash(2) || !results[0].Proven {
			t.Errorf("%s: %+v, %v", name, results, err)
		}
	}
	for name, tt := range map[string]struct{ text, want string }{
		"of a newer version": {`{"schema": "fleetctl/export/v2", "records": [` + host("a", 1) + "]}", "fleetctl/export/v2"},
		"of something else":  {`{"schema": "fleetctl/tokens/v1", "tokens": []}`, "fleetctl/tokens/v1"},
		"cut":                {`{"schema": "fleetctl/export/v1", "records": [` + host("a", 1) + ",\n", "it ends in the middle"},
	} {
		results, err := Import(t.Context(), enrolltest.Store(t), strings.NewReader(tt.text), ImportOptions{})
		if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v", name, results, err)
		}
	}
	results, err := Import(t.Context(), enrolltest.Store(t), strings.NewReader(`{"schema": "fleetctl/export/v1", "records": []}`), ImportOptions{})
	if err != nil || len(results) != 0 {
		t.Errorf("an empty one: %+v, %v", results, err)
	}
}

func TestAnExportRestoresItsProofs(t *testing.T) {
	t.Parallel()
	ca := enrolltest.NewAuthority(t, "A")
	st := enrolltest.Store(t)
	id := enrolltest.Accepted("", 1).Accepted
	leaf := ca.Leaf(t, 5, 5)
	found, err := (importEntry{importIdentity: importIdentity{EKCert: leaf}}).identity()
	if err != nil {
		t.Fatal(err)
	}
	id.EKHash, id.EKPub, id.EKSerial, id.EKCert = found.EKHash, found.EKPub, found.EKSerial, found.EKCert
	if _, err := st.Put(t.Context(), store.Observation{Host: "a", At: enrolltest.Time, Outcome: "ok", Identity: id}); err != nil {
		t.Fatal(err)
	}
	enrolltest.See(t, st, "b", 2)
	claims(t, st, "c", 3)
	out, err := enrolltest.Export(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	for _, trust := range []bool{true, false} {
		other := enrolltest.Store(t)
		results, err := Import(t.Context(), other, bytes.NewReader(out), ImportOptions{TrustProofs: trust})
		if err != nil || len(results) != 3 || results[0].Proven != trust || (results[0].Code == "") != trust || results[2].Proven {
			t.Errorf("%v: %+v, %v", trust, results, err)
		}
		for _, host := range []string{"a", "b", "c"} {
			was, _ := st.Record(t.Context(), host)
			if now, err := other.Record(t.Context(), host); err != nil || reflect.DeepEqual(was.Accepted, now.Accepted) != (trust || host == "c") {
				t.Errorf("%v: %+v, was %+v (%v)", trust, now.Accepted, was.Accepted, err)
			}
		}
	}
}

func TestAFileThatIsNoExportProvesNothing(t *testing.T) {
	t.Parallel()
	hash := enrolltest.Hash(1)
	for _, text := range []string{
		`{"host":"a","ek_public_hash":"` + hash + `","proven":true,"via":"helper"}`,
		`{"host":"a","identity":{"ek_public_hash":"` + hash + `","proven":true,"via":"helper"}}`,
		`{"host":"a","accepted":{"ek_public_hash":"` + hash + `","proven":true,"via":"import"}}`,
		`{"host":"a","accepted":{"ek_public_hash":"` + hash + `","proven":true,"via":"word of mouth"}}`,
		`{"host":"a","ek_public_hash":"` + hash + `","accepted":{"ek_public_hash":"` + enrolltest.Hash(2) + `","proven":true,"via":"helper"}}`,
	} {
		st := enrolltest.Store(t)
		results, err := Import(t.Context(), st, strings.NewReader(text), ImportOptions{TrustProofs: true})
		if err != nil || results[0].Proven || results[0].Code != outcome.Unproven {
			t.Errorf("%s: %+v, %v", text, results, err)
		}
	}
}

func TestAnImportKnowsTheNamesOfAMachine(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	enrolltest.See(t, st, "main", 1)
	fleet := claim.Fleet{Machines: map[string]string{"alias": "main"}}
	text := `{"host":"alias","ek_public_hash":"` + enrolltest.Hash(1) + `"}`
	if r, err := Import(t.Context(), st, strings.NewReader(text), ImportOptions{Fleet: fleet}); err != nil || r[0].Outcome != outcome.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestStatesOfRecords(t *testing.T) {
	t.Parallel()
	st := enrolltest.Store(t)
	for host, n := range map[string]int{"a": 1, "clone": 1, "new-board": 3, "alias": 5, "main": 5} {
		enrolltest.See(t, st, host, n)
	}
	enrolltest.See(t, st, "new-board", 4)
	if _, err := Import(t.Context(), st, strings.NewReader(oldText), ImportOptions{Host: "by-hand"}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Put(t.Context(), store.Observation{Host: "down", At: enrolltest.Time, Outcome: "unreachable", Status: "timeout"}); err != nil {
		t.Fatal(err)
	}
	inv := []inventory.Host{{Name: "alias", Vars: map[string]any{"fleetctl_same_as": "main"}}}
	var got []string
	for v, err := range List(t.Context(), st, inv) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v.Host+" "+string(v.State))
	}
	want := []string{"a duplicate-ek", "alias accepted", "by-hand unproven", "clone duplicate-ek", "down no-identity", "main accepted",
		"new-board changed-ek"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}

	if _, err := Accept(t.Context(), st, AcceptOptions{Inventory: inv}, "new-board", "a"); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("a has nothing to accept: %v", err)
	}
	if _, err := Accept(t.Context(), st, AcceptOptions{Inventory: inv}, "nobody"); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("nobody is not known: %v", err)
	}
	done, err := Accept(t.Context(), st, AcceptOptions{Inventory: inv}, "new-board")
	if err != nil || !slices.Equal(done, []Acceptance{{"new-board", enrolltest.Hash(3), enrolltest.Hash(4)}}) {
		t.Errorf("%+v, %v", done, err)
	}
	enrolltest.See(t, st, "new-board", 1) // now it shows the EK of others
	if _, err := Accept(t.Context(), st, AcceptOptions{Inventory: inv}, "new-board"); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "a, clone") {
		t.Errorf("accepting another machine's EK: %v", err)
	}
	if err := Forget(t.Context(), st, "a", "nobody"); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("forgetting nobody: %v", err)
	}
	if err := Forget(t.Context(), st, "a"); err != nil {
		t.Error(err)
	}
}

func TestIssuersOfTheFleet(t *testing.T) {
	t.Parallel()
	a, b := enrolltest.NewAuthority(t, "A"), enrolltest.NewAuthority(t, "B")
	st := enrolltest.Store(t)
	for i, cert := range [][]byte{a.Leaf(t, 1, 5), b.Leaf(t, 2, 5), b.Leaf(t, 3, 5), nil} {
		id := enrolltest.Accepted("", i+1).Accepted
		id.EKCert = cert
		if _, err := st.Put(t.Context(), store.Observation{Host: fmt.Sprint("h", i), At: enrolltest.Time, Outcome: "ok", Identity: id}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := Issuers(t.Context(), st, tpm.NewCASet(a.Cert), enrolltest.Time)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if list[0].Subject != "CN=B" || list[0].Hosts != 2 || list[0].InBundle || list[1].Subject != "CN=A" || !list[1].InBundle ||
		list[1].Fingerprint != tpm.Fingerprint(a.Cert) {
		t.Errorf("%+v", list)
	}
}
