package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxClean is how much of a host's words an error or a log line may carry, in bytes.
const maxClean = 2000

// maxMarks is how many combining marks one letter may carry: more of them climb over the lines above and below.
const maxMarks = 3

// Clean makes what a host said fit for one line of a terminal, a table, a log or a YAML file: Escape, with the ends trimmed, and
// cut after 2,000 bytes. Where the lines of words mean something, Line joins them.
func Clean(s string) string {
	return strings.TrimSpace(escape(strings.TrimSpace(s), maxClean))
}

// Escape is a text in which nothing can pass for something else, on one line: control characters (newline and tab too, ESC,
// backspace, the C1 set), Unicode's invisible and direction-changing characters, blanks that are none, heaps of combining marks
// and bytes that are no UTF-8 are written as escapes (\n, \t, \x1b, \u202e). Nothing is cut or trimmed. What it has made it leaves as
// it is.
func Escape(s string) string {
	if plain(s) {
		return s
	}
	return escape(s, len(s)*len(`\U0010ffff`))
}

// plain says that there is nothing to do, as nearly always.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// escape writes at most about limit bytes.
func escape(s string, limit int) string {
	var b strings.Builder
	marks := maxMarks // a mark at the beginning would sit on what stands before
	for i := 0; i < len(s); {
		if b.Len() >= limit {
			b.WriteString("…")
			break
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if unicode.In(r, unicode.M) {
			marks++
		} else {
			marks = 0
		}
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else if marks > maxMarks || !visible(r) {
			writeEscaped(&b, r)
		} else {
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// visible says whether a character shows, as itself and where it stands. What Unicode lets a renderer ignore (Hangul's fillers, the
// joiner U+034F, variation selectors, tags) counts as printable for package unicode.
func visible(r rune) bool {
	switch {
	case !unicode.IsPrint(r), unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return false
	}
	switch r {
	case '\u2800', // braille's blank
		'\u17b4', '\u17b5', // Khmer's inherent vowels
		'\U0001d159', '\U00016fe4', // a note head and a Khitan sign without ink
		'\U00013441', '\U00013442': // Egyptian blanks
		return false
	}
	return true
}

func writeEscaped(b *strings.Builder, r rune) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r < 0x80:
		fmt.Fprintf(b, `\x%02x`, r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// Line is words of several lines on one: cleaned, blanks drawn together, the lines separated by semicolons.
func Line(s string) string { return Clean(strings.Join(folded(s), "; ")) }

// folded are the lines that say something, with single blanks.
func folded(s string) []string {
	var out []string
	for l := range strings.Lines(Head(s, 4*maxClean)) {
		if l = strings.Join(strings.Fields(l), " "); l != "" {
			out = append(out, l)
		}
	}
	return out
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
