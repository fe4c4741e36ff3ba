package inventory

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// word is a word of a line and the byte at which it begins.
type word struct {
	text string
	off  int
}

// shellSplit splits a line into words as Python's shlex does in POSIX mode: blanks separate, quotes and backslashes
// quote, and with comments, an unquoted # ends the line wherever it stands. off is the place of an error.
func shellSplit(s string, comments bool) (words []word, off int, err error) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c == '#' && comments:
			i = skipLine(s, i)
		default:
			text, next, err := shellWord(s, i, comments)
			if err != nil {
				return nil, next, err
			}
			words, i = append(words, word{text, i}), next
		}
	}
	return words, 0, nil
}

func skipLine(s string, i int) int {
	if j := strings.IndexByte(s[i:], '\n'); j >= 0 {
		return i + j
	}
	return len(s)
}

// shellWord reads the word that begins at i and returns where it ends, or where the quote begins that nothing closes.
func shellWord(s string, i int, comments bool) (text string, end int, err error) {
	var b strings.Builder
	for i < len(s) {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '#' && comments:
			return b.String(), i, nil
		case c == '\'' || c == '"':
			n, ok := quoted(&b, s[i:])
			if !ok {
				return "", i, fmt.Errorf("the quote %c is not closed", c)
			}
			i += n
		case c == '\\':
			if i+1 == len(s) {
				return "", i, errors.New("nothing stands behind the backslash")
			}
			_, size := utf8.DecodeRuneInString(s[i+1:])
			b.WriteString(s[i+1 : i+1+size])
			i += 1 + size
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), i, nil
}

// quoted reads a quoted part, up to its closing quote, and returns its length.
func quoted(b *strings.Builder, s string) (n int, ok bool) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i + 1, true
		case s[i] == '\\' && quote == '"' && i+1 < len(s):
			if next := s[i+1]; next != '"' && next != '\\' {
				b.WriteByte('\\')
			}
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return 0, false
}
