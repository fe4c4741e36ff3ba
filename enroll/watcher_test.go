package enroll

import (
	"slices"
	"strings"
	"testing"
)

func TestTheWatcherHearsOneAtATime(t *testing.T) {
	t.Parallel()
	l := newLab(t, 6)
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(l.heard.logs, func(s string) bool { return strings.HasPrefix(s, "web-06: ") }) {
		t.Errorf("logged %q", l.heard.logs)
	}
}
