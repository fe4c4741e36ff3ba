package outcome

import "testing"

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"scan", "scan", 0}, {"sacn", "scan", 1}, {"scn", "scan", 1}, {"scaan", "scan", 1}, {"skan", "scan", 1},
		{"", "scan", 4}, {"scan", "", 4}, {"limt", "limit", 1}, {"nmae", "name", 1}, {"forks", "hosts", 3}, {"abc", "xyz", 3},
	} {
		if got := Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
