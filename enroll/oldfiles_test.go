package enroll

import (
	"errors"
	"strings"
	"testing"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/token"
)

func TestFilesOfRecordsThatAreLostAreNotWrittenAnewBlindly(t *testing.T) {
	t.Parallel()
	for _, format := range []string{token.FormatTctl, token.FormatTerraform, token.FormatKubernetes} {
		l := newLab(t, 3)
		if _, err := l.scan(); err != nil {
			t.Fatal(err)
		}
		blind := TokensOptions{Format: format, Out: l.out}
		if _, err := Tokens(t.Context(), l.Fleet, blind); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if _, err := Tokens(t.Context(), l.Fleet, blind); err != nil {
			t.Fatalf("%s: the records know these files: %v", format, err)
		}
		l.loseRecords()
		if _, err := l.scan(); err != nil {
			t.Fatal(err)
		}
		before := l.files()
		for _, check := range []bool{true, false} {
			blind.Check = check
			_, err := Tokens(t.Context(), l.Fleet, blind)
			if !errors.Is(err, ErrNewerFiles) || !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), l.out) {
				t.Errorf("%s: %v", format, err)
			}
		}
		if after := l.files(); after != before {
			t.Errorf("%s: the files became\n%s", format, after)
		}
		tokens, err := l.Store.Tokens(t.Context())
		if err != nil || len(tokens) > 0 {
			t.Errorf("%s: the records took tokens for made: %v, %v", format, tokens, err)
		}
	}
}
