package remote

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The longest text of a host that goes into a message, in bytes.
const maxText = 2000

// Clean makes a host's text fit for terminals and files: control and formatting characters and broken UTF-8 become
// spaces or U+FFFD, and it is cut at 2,000 bytes.
func Clean(s string) string {
	if len(s) > maxText {
		cut := maxText
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}
