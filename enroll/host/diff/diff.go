// Package diff shows how a file changes, with secrets masked.
package diff

import (
	"fleetctl/remote"
	"fmt"
	"regexp"
	"strings"
)

// Unified shows how one text becomes another, line by line, with three lines of context. "" when they are equal.
func Unified(old, want string) string {
	if old == want {
		return ""
	}
	edits := lineEdits(splitLines(old), splitLines(want))
	near := make([]bool, len(edits))
	for i, e := range edits {
		if e[0] == ' ' {
			continue
		}
		for j := max(0, i-3); j <= min(len(edits)-1, i+3); j++ {
			near[j] = true
		}
	}
	var b strings.Builder
	for i, e := range edits {
		switch {
		case near[i]:
			fmt.Fprintf(&b, "%c%s\n", e[0], printableLine(e[1:]))
		case i == 0 || near[i-1]:
			b.WriteString("…\n")
		}
	}
	return b.String()
}

// printableLine is printable for a line whose blanks matter: the content of a foreign file goes to a terminal.
func printableLine(s string) string {
	indent := len(s) - len(strings.TrimLeft(s, " "))
	return s[:indent] + remote.Clean(s)
}

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// lineEdits is the shortest edit script: every line with ' ', '-' or '+' before it. The files are small: the table of
// longest common subsequences is cut to what 64 KiB files can need.
func lineEdits(a, b []string) []string {
	const maxLines = 2000
	if len(a) > maxLines || len(b) > maxLines {
		return append(prefixed('-', a), prefixed('+', b)...)
	}
	lcs := make([][]int, len(a)+1)
	for i := range lcs {
		lcs[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				lcs[i][j] = lcs[i+1][j+1] + 1
			} else {
				lcs[i][j] = max(lcs[i+1][j], lcs[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			out = append(out, " "+a[i])
			i, j = i+1, j+1
		case lcs[i+1][j] >= lcs[i][j+1]:
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[j])
			j++
		}
	}
	return append(append(out, prefixed('-', a[i:])...), prefixed('+', b[j:])...)
}

func prefixed(c byte, lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = string(c) + l
	}
	return out
}

// secretKey matches a YAML line whose key says that its value is a secret. "token" is one in a configuration that
// joins by the token method; the name of a tpm token is none, and shown.
var (
	secretKey = regexp.MustCompile(`(?i)^(\s*(?:- )?["']?[\w.-]*` +
		`(?:password|passwd|passphrase|secret|private_key|api_key|token)["']?\s*:\s*)(\S.*)$`)
	userInfo = regexp.MustCompile(`(://[^/\s:@]*:)[^/\s@]+@`)
)

// MaskSecrets replaces the values of secrets. The token name given is no secret. Of a block scalar under such a key,
// the whole block goes.
func MaskSecrets(text, token string) string {
	lines := strings.Split(text, "\n")
	out := make([]string, 0, len(lines))
	block := -1 // the indentation of the key whose block is left out
	for _, l := range lines {
		indent := len(l) - len(strings.TrimLeft(l, " "))
		if block >= 0 && (indent > block || strings.TrimSpace(l) == "") {
			continue
		}
		block = -1
		if m := secretKey.FindStringSubmatch(l); m != nil && strings.Trim(m[2], `"'`) != token {
			l = m[1] + "********"
			if strings.HasPrefix(m[2], "|") || strings.HasPrefix(m[2], ">") {
				block = indent
			}
		}
		out = append(out, userInfo.ReplaceAllString(l, "${1}********@"))
	}
	return strings.Join(out, "\n")
}
