package enroll

import (
	"encoding/json"
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

// TestTokensThatLostRecordsDoNotNameAreLookedAt: under another name of the token, nobody who has the old one loses it.
func TestTokensThatLostRecordsDoNotNameAreLookedAt(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.Config.Fleet = "site"
	l.enrolled()
	l.loseRecords()
	l.Config.Token.Name = "prod"
	l.choose("web-01", "web-02") // web-03 is down: the new records never saw it
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	l.choose("web-01", "web-02", "web-03")
	for range 2 {
		if _, err := l.tokens(TokensOptions{Apply: true}); !errors.Is(err, outcome.ErrHostsFailed) && err != nil {
			t.Fatal(err)
		}
		l.wantIn("after lost records", "web-01: fleet prod; web-02: fleet prod; web-03: fleet", "fleet", "prod")
	}
	may := map[string]int{}
	for w, err := range l.Store.Ways(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		may[w.Token]++
	}
	if may["fleet"] != 3 || may["prod"] != 2 {
		t.Errorf("the records know of %v, and not who may have the old token", may)
	}
}

// cut takes the last rule out of a token, as somebody who knows more does.
func (l *lab) cut(name string) {
	l.t.Helper()
	out, _, _ := l.cluster.Run(l.t.Context(), nil, []string{"get", "token/" + name, "--format=json"})
	var docs []map[string]any
	if err := json.Unmarshal(out, &docs); err != nil {
		l.t.Fatal(err)
	}
	tpm := docs[0]["spec"].(map[string]any)["tpm"].(map[string]any)
	allow := tpm["allow"].([]any)
	tpm["allow"] = allow[:len(allow)-1]
	raw, err := json.Marshal(docs[0])
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(string(raw))
}

// TestANarrowedRunBringsNobodyBackWhoWasTakenOut: another controller has moved the others meanwhile.
func TestANarrowedRunBringsNobodyBackWhoWasTakenOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	l.cut("fleet") // web-02 has no rule any more
	l.choose("web-01")
	if _, err := l.enroll(); err != nil {
		t.Fatal(err)
	}
	l.wantIn("of one host", "web-01: fleet; web-02:", "fleet")
	l.choose("web-01", "web-02")
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	l.wantIn("of all", "web-01: fleet; web-02: fleet", "fleet")
}
