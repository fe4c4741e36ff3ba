package outcome

import "testing"

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"scan", "scan", 0}, {"sacn", "scan", 1}, {"scn", "scan", 1}, {"scaan", "scan", 1}, {"skan", "scan", 1},
		{"", "scan", 4}, {"scan", "", 4}, {"limt", "limit", 1}, {"forks", "hosts", 3}, {"abc", "xyz", 3},
	} {
		if got := Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"scan", "status", "tokens", "enroll", "records", "remove", "report"}
	for word, want := range map[string]string{
		"sacn": "scan", "enrol": "enroll", "stats": "status", "token": "tokens", "removed": "remove", "": "", "x": "", "zzzzzz": "", "scan": "scan",
		"an": "", "enlist": "",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
