package records

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
)

// TestOneBadRecordLosesNoOther: whatever is wrong with one, all others are imported.
func TestOneBadRecordLosesNoOther(t *testing.T) {
	t.Parallel()
	good := func(host string) string {
		return `{"host":"` + host + `","ek_public_hash":"` + strings.Repeat(host, 64) + `"}`
	}
	for name, bad := range map[string]string{
		"a host that is no text":       `{"host":5}`,
		"a date that no JSON has":      strings.TrimSuffix(good("c"), "}") + `,"properties":{"ek_certificate_not_after":"99999-01-01T00:00:00Z"}}`,
		"a date with an offset":        strings.TrimSuffix(good("c"), "}") + `,"properties":{"ek_certificate_not_after":"9999-12-31T23:59:59-14:00"}}`,
		"a line that was cut":          `{"host":"b","ek_public_hash":"ab`,
		"a line that was cut in a key": `{"host":"b","ek_pub`,
		"a brace too few":              `{"host":"b","identity":{"ek_public_hash":"ab"}`,
		"a brace too many":             `{"host":"b"}}`,
		"no JSON":                      `{host: b}`,
		"another text":                 `hello`,
		"a list":                       `["x", {"host":"b"}]`,
		"facts of another version":     `{"fleetctl_identify":99}`,
		"a serial of kilobytes":        `{"host":"b","ek_public_hash":"` + strings.Repeat("b", 64) + `","ek_certificate_serial":"` + strings.Repeat("ab:", 5000) + `ab"}`,
		"an endless one":               `{"host":"` + strings.Repeat("b", maxObject+10) + `"}`,
		"a deep one":                   strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000),
	} {
		for _, file := range []string{
			good("a") + "\n" + bad + "\n" + good("d") + "\n" + good("e"),
			"[\n  " + good("a") + ",\n  " + bad + ",\n  " + good("d") + ",\n  " + good("e") + "\n]\n",
		} {
			st := enrolltest.Store(t)
			results, err := Import(t.Context(), st, strings.NewReader(file), ImportOptions{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			ok := ""
			for _, r := range results {
				if r.Outcome == outcome.OK {
					ok += r.Host
				}
				if len(r.Message) > 3000 || strings.ContainsAny(r.Message, "\n\t") {
					t.Errorf("%s: a message of %d bytes", name, len(r.Message))
				}
			}
			if strings.ReplaceAll(ok, "c", "") != "ade" {
				t.Errorf("%s: %q are imported: %+v", name, ok, results)
			}
		}
	}
}

func FuzzObjects(f *testing.F) {
	f.Add(`{"a":1}` + "\n" + `{"b":"}{"}`)
	f.Add("[\n  {\"a\":\n  {\"b\":2}\n]")
	f.Fuzz(func(t *testing.T, file string) {
		r := objectReader{in: bufio.NewReader(strings.NewReader(file))}
		for range len(file) + 2 {
			raw, err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil && raw[0] != '{' || err != nil && !errors.Is(err, errObject) {
				t.Fatalf("%q, %v", raw, err)
			}
		}
		t.Error("it does not end")
	})
}
