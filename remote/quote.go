package remote

import (
	"errors"
	"fmt"
	"strings"
)

// Quote makes one word of a POSIX shell out of s, whatever bytes s holds. NUL, which no word can hold, is dropped. It is
// the only way by which anything gets into a shell command.
func Quote(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	if s != "" && strings.IndexFunc(s, needsQuote) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func needsQuote(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("_-./:@%+,", r)
}

// quoteAll quotes words and joins them with spaces.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

// shellWords splits a text where a POSIX shell does, and leaves the words as they are written, quotes included. What would
// be more than one command, or leave a quote open, is an error.
func shellWords(s string) ([]string, error) {
	var words []string
	start := -1
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == 0 || c == '\n':
			return nil, errors.New("a line break in a command")
		case quote == '\'' || quote != 0 && c == quote:
			if c == quote {
				quote = 0
			}
			continue
		case c == '`':
			return nil, errors.New("a command in a command")
		case c == '\\':
			if i++; i == len(s) || s[i] == '\n' {
				return nil, errors.New("a backslash before nothing")
			}
		case quote != 0:
			continue
		case c == ' ' || c == '\t':
			if start >= 0 {
				words = append(words, s[start:i])
			}
			start = -1
			continue
		case strings.IndexByte(";&|<>()#", c) >= 0:
			return nil, fmt.Errorf("%q, which has to be quoted", c)
		case c == '\'' || c == '"':
			quote = c
		}
		if start < 0 {
			start = min(i, len(s)-1)
			if c == '\\' {
				start = i - 1
			}
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if start >= 0 {
		words = append(words, s[start:])
	}
	return words, nil
}
