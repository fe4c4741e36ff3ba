package enroll

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// filesOf are files with these texts, called a, b, …; an empty text is a file that cannot be read.
func filesOf(texts ...string) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for i, text := range texts {
			f := File{Name: string(rune('a' + i)), Content: strings.NewReader(text)}
			var err error
			if text == "" {
				err = errSick
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// identified is what "tbot tpm identify" prints of EK n.
func identified(n int) string {
	return "TPM Information\nEKPub Hash: " + enrolltest.Hash(n) + "\nEKCert Detected: false\n"
}

// asJSON is an identity as a file of many hosts has it.
func asJSON(host string, n int) string {
	return fmt.Sprintf("{\"host\": %q, \"ek_public_hash\": %q}\n", host, enrolltest.Hash(n))
}

func TestImportRecordsWhatFilesSay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		host  string
		files []string
		want  string
		err   error
		says  string // in the error
		run   string
	}{
		{"one host's text", "web-01", []string{identified(1)}, "web-01 ok unproven", nil, "", "done"},
		{"many hosts in one file", "", []string{asJSON("web-01", 1) + asJSON("web-02", 2)}, "web-01 ok unproven, web-02 ok unproven", nil, "", "done"},
		{"several files", "", []string{asJSON("web-01", 1), asJSON("web-02", 2)}, "web-01 ok unproven, web-02 ok unproven", nil, "", "done"},
		{"a text of nobody knows which host", "", []string{identified(1)}, " failed bad-input", outcome.ErrHostsFailed, "", "done"},
		{"one EK of two hosts", "", []string{asJSON("web-01", 1) + asJSON("web-02", 1)}, "web-01 failed duplicate-ek, web-02 failed duplicate-ek",
			outcome.ErrHostsFailed, "", "done"},
		{"another EK than before", "", []string{asJSON("web-01", 1) + asJSON("web-01", 2)}, "web-01 ok unproven, web-01 failed changed-ek",
			outcome.ErrHostsFailed, "", "done"},
		{"a file that is none ends itself alone", "", []string{asJSON("web-01", 1), "{", asJSON("web-02", 2)},
			"web-01 ok unproven, web-02 ok unproven", outcome.ErrInput, "b: object 1: ", "failed"},
		{"a file that cannot be read ends itself alone", "", []string{"", asJSON("web-02", 2)}, "web-02 ok unproven", errSick, "a: ", "failed"},
		{"two machines with one EK, in two files", "", []string{asJSON("web-01", 1), asJSON("web-02", 1) + asJSON("web-03", 3)},
			"web-01 failed duplicate-ek, web-02 failed duplicate-ek, web-03 ok unproven", outcome.ErrHostsFailed, "", "done"},
		{"no file at all", "", nil, "", nil, "", "done"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 0)
			report, err := Import(t.Context(), l.Fleet, ImportOptions{Host: tt.host}, filesOf(tt.files...))
			var got []string
			for _, r := range report.Results {
				got = append(got, fmt.Sprintf("%s %s %s", r.Host, r.Outcome, r.Code))
			}
			if text := strings.Join(got, ", "); text != tt.want || report.Results == nil || report.Run == 0 {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
			if !errors.Is(err, tt.err) || tt.err == nil && err != nil || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v with %q", err, tt.err, tt.says)
			}
			if runs := l.runs(); runs != "import "+tt.run {
				t.Errorf("runs: %s", runs)
			}
			for _, r := range report.Results {
				if r.Outcome != outcome.OK {
					continue
				}
				if id := l.record(r.Host).Accepted; id.EKHash != r.EKHash || id.Proven || id.Via != records.ViaImport {
					t.Errorf("%s: %+v", r.Host, id)
				}
			}
		})
	}
}

func TestRecordsThatFailEndAnImport(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0)
	l.sick(func(call string) error {
		if call == "put web-02" {
			return errSick
		}
		return nil
	})
	report, err := Import(t.Context(), l.Fleet, ImportOptions{}, filesOf(asJSON("web-01", 1), asJSON("web-02", 2)))
	if told(report.Results) != "web-01 ok unproven" || !errors.Is(err, errSick) || l.runs() != "import failed" {
		t.Errorf("%s, %v, runs %s", told(report.Results), err, l.runs())
	}
	if err := named("", errSick); err != errSick { //nolint:errorlint // the very same
		t.Errorf("an error without a file: %v", err)
	}
}

func TestIssuersAreCounted(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.certify("web-01", "web-02")
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	issuers, err := Issuers(t.Context(), l.Fleet)
	if err != nil || len(issuers) != 1 || issuers[0].Hosts != 2 || !issuers[0].InBundle || !strings.Contains(issuers[0].Subject, "TPM maker") {
		t.Errorf("%+v, %v", issuers, err)
	}
	l.Config.Token.EKCertCAs = nil
	if issuers, err = Issuers(t.Context(), l.Fleet); err != nil || len(issuers) != 1 || issuers[0].InBundle {
		t.Errorf("without a bundle: %+v, %v", issuers, err)
	}
	l.Config.Token.EKCertCAs = []string{"missing.pem"}
	if _, err = Issuers(t.Context(), l.Fleet); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("a bundle that is missing: %v", err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add("TPM Information\nEKPub Hash: " + enrolltest.Hash(1) + "\nEKCert Detected: true\nEKCert Serial: 5e:cd:5f:8e\n")
	f.Add("TPM Information\nEK Public Hash: " + enrolltest.Hash(1) + "\nEK Certificate Detected: true\nEK Certificate Serial: 01\n")
	f.Add(`{"host":"a","ek_public_hash":"` + enrolltest.Hash(1) + `","ek_public":"AAAA","properties":{"vendor":"x"}}`)
	f.Add(`[{"host":"a","identity":{"ek_certificate":"MIIB"}},{"accepted":null}]`)
	f.Fuzz(func(t *testing.T, text string) {
		report, err := Import(t.Context(), Fleet{Store: &memoryStore{}}, ImportOptions{Host: "h"}, filesOf(text+"\n"))
		if err != nil && !errors.Is(err, outcome.ErrInput) && !errors.Is(err, outcome.ErrHostsFailed) {
			t.Fatal(err)
		}
		for _, r := range report.Results {
			if r.Outcome == outcome.OK && (!store.ValidEKHash(r.EKHash) || r.Serial != "" && !tpm.ValidSerial(r.Serial) || r.Host == "") {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// memoryStore takes what import puts.
type memoryStore struct{ store.Store }

func (*memoryStore) BeginRun(context.Context, string, int) (int64, error) { return 1, nil }

func (*memoryStore) EndRun(context.Context, int64, string) error { return nil }

func (*memoryStore) PutAll(_ context.Context, all []store.Observation) ([]store.Verdict, error) {
	for _, o := range all {
		if o.Identity.Proven {
			return nil, errors.New("an import is never proven")
		}
	}
	return make([]store.Verdict, len(all)), nil
}

func (*memoryStore) Duplicates(context.Context) ([]store.Duplicate, error) { return nil, nil }
