package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxClean is how much of a host's words an error or a log line may carry, in bytes.
const maxClean = 2000

// Clean makes what a host said fit for a terminal, a log or a YAML file: control characters (ESC, backspace, carriage
// return, the C1 set), Unicode's invisible and direction-changing characters and bytes that are no UTF-8 are written as
// escapes (\x1b, \u202e); newlines and tabs stay; the ends are trimmed; more than 2,000 bytes are cut.
func Clean(s string) string {
	var b strings.Builder
	s = strings.TrimSpace(s)
	for i := 0; i < len(s); {
		if b.Len() >= maxClean {
			b.WriteString("…")
			break
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		writeClean(&b, r, s[i:i+n])
		i += n
	}
	return strings.TrimSpace(b.String())
}

func writeClean(b *strings.Builder, r rune, raw string) {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		fmt.Fprintf(b, `\x%02x`, raw[0])
	case r == '\n' || r == '\t' || unicode.IsPrint(r):
		b.WriteString(raw)
	case r < 0x80:
		fmt.Fprintf(b, `\x%02x`, r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// Line is Clean on one line, the lines of s separated by semicolons.
func Line(s string) string {
	var out []string
	for l := range strings.Lines(Clean(s)) {
		if l = strings.Join(strings.Fields(l), " "); l != "" {
			out = append(out, l)
		}
	}
	return strings.Join(out, "; ")
}

// Head is the beginning of a host's words, at most n bytes of them, uncleaned.
func Head(s string, n int) string { return s[:min(n, len(s))] }

// Cut is the beginning of a host's words, cleaned, with a mark where more followed.
func Cut(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return Clean(s)
}

// Tail is the end of a host's words, at most n bytes of them, uncleaned, with a mark where more came before.
func Tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}
