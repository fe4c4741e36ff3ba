package token

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
)

func TestFormatsStandBesideEachOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := testInput(enrolltest.Accepted("a ${x}", 1), enrolltest.Accepted("b", 2))
	in.Policy.MaxRules = 1
	formats := []string{FormatTctl, FormatTerraform, FormatKubernetes}
	for _, format := range formats {
		if _, err := planTokens(t, in).WriteAs(dir, format); err != nil {
			t.Fatal(err)
		}
	}
	in.Records = in.Records[:1]
	want := map[string]string{FormatTctl: "fleet-2.yaml", FormatTerraform: "fleet-2.tf.json", FormatKubernetes: "fleet-2.k8s.yaml"}
	for _, format := range formats {
		set := planTokens(t, in)
		if names, err := set.Differs(dir, format); err != nil || strings.Join(names, " ") != want[format] {
			t.Errorf("%s differs in %v, %v", format, names, err)
		}
		if names, err := set.WriteAs(dir, format); err != nil || strings.Join(names, " ") != want[format] {
			t.Errorf("%s changed %v, %v", format, names, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "fleet.tf.json"))
	if err != nil || !bytes.Contains(data, []byte(`"a $${x}"`)) {
		t.Errorf("a template in a name: %s, %v", data, err)
	}
	in.Policy.Name = "Fleet_X"
	if _, err := planTokens(t, in).WriteAs(dir, FormatKubernetes); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("a name that Kubernetes refuses: %v", err)
	}
	if _, err := planTokens(t, in).WriteAs(dir, "xml"); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("an unknown format: %v", err)
	}
}

func TestLintRefusesWhatServersRefuse(t *testing.T) {
	t.Parallel()
	good := func() *Set { return planTokens(t, testInput(enrolltest.Accepted("a", 1))) }
	if err := good().lint(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Set){
		"a name with a slash":           func(s *Set) { s.Tokens[0].Name = "a/b" },
		"a name with dots":              func(s *Set) { s.Tokens[0].Name = "a..b" },
		"an empty name":                 func(s *Set) { s.Tokens[0].Name = "" },
		"a name with a space":           func(s *Set) { s.Tokens[0].Name = "a b" },
		"a bot's file":                  func(s *Set) { s.Tokens[0].Name = "Bot" },
		"an unknown kind":               func(s *Set) { s.Tokens[0].Kind = "proxy" },
		"a Bot token without a bot":     func(s *Set) { s.Tokens[0].Bot = "" },
		"a Node token with a bot":       func(s *Set) { s.Tokens[0].Kind = KindNode },
		"no rule":                       func(s *Set) { s.Tokens[0].Rules = nil },
		"a hash in capitals":            func(s *Set) { s.Tokens[0].Rules[0].EKHash = strings.Repeat("A", 64) },
		"a short hash":                  func(s *Set) { s.Tokens[0].Rules[0].EKHash = "ab" },
		"a serial without colons":       func(s *Set) { s.Tokens[0].Rules[0].EKSerial = "5ecd" },
		"a description that hides":      func(s *Set) { s.Tokens[0].Rules[0].Description = "a\u202eb" },
		"no description":                func(s *Set) { s.Tokens[0].Rules[0].Description = "" },
		"a CA that is no PEM":           func(s *Set) { s.Tokens[0].CAs = []string{"x"} },
		"a CA that is another PEM":      func(s *Set) { s.Tokens[0].CAs = []string{"-----BEGIN X-----\nAA==\n-----END X-----\n"} },
		"two rules for one EK":          func(s *Set) { s.Tokens[0].Rules = append(s.Tokens[0].Rules, s.Tokens[0].Rules[0]) },
		"more bytes than allowed":       func(s *Set) { s.maxBytes = 100 },
		"a bot with an impossible name": func(s *Set) { s.Bots[0].Name = "a b" },
	} {
		s := good()
		spoil(s)
		if err := s.lint(); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Write(filepath.Join(t.TempDir(), "out")); !errors.Is(err, outcome.ErrInput) {
			t.Errorf("%s was written: %v", name, err)
		}
	}
}
