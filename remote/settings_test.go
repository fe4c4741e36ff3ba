package remote

import (
	"strings"
	"testing"
)

func TestTokensAreExpandedOnce(t *testing.T) {
	t.Setenv("FLEETCTL_TEST_TOKENS", "%h${HOME}")
	s := &settings{host: "h%p", alias: "n%h", port: 2222, user: "u${HOME}%n", keyAlias: "k"}
	for in, want := range map[string]string{
		"%h-%n-%p-%r-%k":               "h%p-n%h-2222-u${HOME}%n-k",
		"%%h":                          "%h",
		"${FLEETCTL_TEST_TOKENS}%p":    "%h${HOME}2222",
		"$FLEETCTL_TEST_TOKENS $$ ${ ": "$FLEETCTL_TEST_TOKENS $$ ${ ",
	} {
		if got, err := s.expand(in); got != want || err != nil {
			t.Errorf("%q became %q, %v, want %q", in, got, err, want)
		}
	}
	if got, err := s.expandTokens("echo ${HOME} %p", "p"); got != "echo ${HOME} 2222" || err != nil {
		t.Errorf("a command became %q, %v", got, err)
	}
	for _, in := range []string{"%X", "a%", "%T", "%h%", "${FLEETCTL_TEST_TOKENS_ABSENT}"} { // ssh ends with these
		if got, err := s.expand(in); err == nil {
			t.Errorf("%q became %q", in, got)
		}
	}
}

// FuzzTokens expands anything with values that look like tokens themselves: they come through as they are, and without
// tokens nothing changes.
func FuzzTokens(f *testing.F) {
	for _, s := range []string{"%h", "%%h", "%", "${", "${X}", "%h%n%p%r", "ssh -W %h:%p j", "${HOME}/%h", "%%%h%%", "$%h", "${%h}"} {
		f.Add(s, "a%nb${X}")
	}
	f.Fuzz(func(t *testing.T, in, host string) {
		s := &settings{host: host, alias: "n", port: 1, user: "u"}
		got, err := s.expandTokens(in, fileTokens)
		if err != nil {
			return
		}
		if !strings.Contains(in, "%") && got != in {
			t.Errorf("%q became %q", in, got)
		}
		if in == "%h" && got != host {
			t.Errorf("%%h became %q, want %q", got, host)
		}
		if n := strings.Count(strings.ReplaceAll(in, "%%", ""), "%h"); n == 1 && host != "" && !strings.Contains(got, host) {
			t.Errorf("%q with %q became %q", in, host, got)
		}
		_, _ = s.expand(in)
	})
}

// FuzzHops reads ProxyJump chains: each step takes at least one hop away, so that reading ends, and names are checked.
func FuzzHops(f *testing.F) {
	for _, s := range []string{"a", "u@a:22,b", "ssh://u@[::1]:2222/", "[::1]", ",", "a,,b", "u@v@h", "a:0", "a:99999", "$(x)", "u@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, chain string) {
		_, before, err := parseHop(chain)
		if err == nil && len(before) >= len(chain) && chain != "" {
			t.Errorf("%q leaves %q", chain, before)
		}
		if checkHops(chain) == nil && strings.ContainsAny(chain, "`;|&<>()") {
			t.Errorf("%q is let by", chain)
		}
	})
}
