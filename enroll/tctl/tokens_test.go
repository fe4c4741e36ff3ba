package tctl

import (
	"strings"
	"testing"
)

func TestAllTokensAreRead(t *testing.T) {
	t.Parallel()
	for out, want := range map[string]int{"": 0, "[]": 0, "null": 0, `[{"a":1},{"b":2}]`: 2, ` {"a":1}` + "\n": 1} {
		if got, err := saying(out, "", 0).Tokens(t.Context()); err != nil || len(got) != want {
			t.Errorf("%q: %d, %v", out, len(got), err)
		}
	}
	for _, out := range []string{`[{"metadata":{"name":"s3cr3t"}`, "s3cr3t", `"s3cr3t"`} {
		if _, err := saying(out, "", 0).Tokens(t.Context()); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: %v", out, err)
		}
	}
	if _, err := saying("", "ERROR: access denied\n", 1).Tokens(t.Context()); err == nil {
		t.Error("a refusal is no list")
	}
}
