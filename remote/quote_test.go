package remote

import (
	"os/exec"
	"strings"
	"testing"
)

var quoteCases = []string{
	"", "plain", "a b", "it's", `"$HOME" $(id) ` + "`id`", "a\nb", "!!", "*?[a]", `\`, `\'`, "'", "''", "-n", "--", "~", "#x",
	"\x01\xff\xfe", "ünï", ";|&<>(){}", "a'\"'b", "$'x'", "=ls",
}

func TestQuotedWordsSurviveRealShells(t *testing.T) {
	t.Parallel()
	for _, shell := range [][]string{{"dash"}, {"bash"}, {"busybox", "sh"}, {"ksh"}, {"sh"}} {
		path, err := exec.LookPath(shell[0])
		if err != nil {
			t.Logf("%s is not installed", shell[0])
			continue
		}
		for _, c := range quoteCases {
			out, err := exec.Command(path, append(shell[1:], "-c", "printf %s "+Quote(c))...).Output()
			if err != nil || string(out) != c {
				t.Errorf("%s: %q became %q, %v", shell[0], c, out, err)
			}
		}
	}
}

// unquote reads one POSIX shell word made of literal characters, '…' and \c. ok is false for anything else.
func unquote(s string) (word string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return "", false
			}
			b.WriteString(s[i+1 : i+1+end])
			i += end + 1
		case c == '\\':
			if i++; i == len(s) || s[i] == '\n' {
				return "", false
			}
			b.WriteByte(s[i])
		case strings.IndexByte("|&;<>()$`\" \t\n*?[#~=!{}^", c) >= 0:
			return "", false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

func FuzzQuote(f *testing.F) {
	for _, c := range quoteCases {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := strings.ReplaceAll(s, "\x00", "")
		q := Quote(s)
		if got, ok := unquote(q); !ok || got != want || q == "" {
			t.Errorf("%q became %q, which is %q", s, q, got)
		}
	})
}

func TestCleanLeavesNothingThatATerminalObeys(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                   "plain",
		" a\tb\nc ":               `a\tb\nc`,
		"\x1b[2J\x07":             `\x1b[2J\x07`,
		"a\rb\x08":                `a\x0db\x08`,
		"\xff\xc3":                `\xff\xc3`,
		"\u202egnp\u2066\u200b":   `\u202egnp\u2066\u200b`,
		"\u009b31m":               `\u009b31m`,
		"ünïcödé ✓":               "ünïcödé ✓",
		strings.Repeat("x", 3000): strings.Repeat("x", 2000) + "…",
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b]0;title\x07")
	f.Add("\xe2\x80\xae")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		for _, r := range got {
			if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u202e' || r == '\ufffd' && !strings.Contains(s, "\ufffd") {
				t.Errorf("%q became %q", s, got)
			}
		}
		if len(got) > 2020 {
			t.Errorf("%d bytes", len(got))
		}
	})
}
