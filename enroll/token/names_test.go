package token

import "testing"

// TestNamesShow: a name stands in comments and descriptions of files that people read.
func TestNamesShow(t *testing.T) {
	for name, want := range map[string]string{
		"web-01": "web-01", "größe": "größe", "e\u0301": "e\u0301", "a\u3164b\u034f\ufe0f\U000e0041": "a_b___", "a\nb\tc": "a_b_c", "\u202egnp": "_gnp", "\xff": "_",
	} {
		if got := clean(name); got != want {
			t.Errorf("%q became %q, not %q", name, got, want)
		}
	}
}
