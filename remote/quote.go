package remote

import "strings"

// Quote makes s one word for a POSIX shell, whatever it holds (POSIX.1-2017, Shell Command Language, 2.2.2). A NUL byte,
// which no shell word can hold, is dropped.
func Quote(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
