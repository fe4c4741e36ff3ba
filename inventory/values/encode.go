package values

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// AppendJSON writes a value as Ansible does: keys sorted, four blanks a level, no escapes beyond those that JSON needs,
// floats as Python writes them, vault and unsafe values as objects.
func AppendJSON(b []byte, v any, depth int) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case *big.Int:
		return v.Append(b, 10)
	case float64:
		return append(b, PythonFloat(v)...)
	case string:
		return appendString(b, v)
	case Vault:
		return AppendJSON(b, map[string]any{"__ansible_vault": v.Text}, depth)
	case Secret:
		return AppendJSON(b, v.sealed(), depth)
	case Unsafe:
		return AppendJSON(b, map[string]any{"__ansible_unsafe": string(v)}, depth)
	case []any:
		return appendList(b, v, depth)
	case map[string]any:
		return appendMap(b, v, depth)
	}
	return appendString(b, fmt.Sprint(v))
}

func appendList(b []byte, list []any, depth int) []byte {
	if len(list) == 0 {
		return append(b, "[]"...)
	}
	b = append(b, '[')
	for i, v := range list {
		b = appendBreak(b, i > 0, depth+1)
		b = AppendJSON(b, v, depth+1)
	}
	return append(appendBreak(b, false, depth), ']')
}

func appendMap(b []byte, m map[string]any, depth int) []byte {
	if len(m) == 0 {
		return append(b, "{}"...)
	}
	b = append(b, '{')
	for i, key := range slices.Sorted(maps.Keys(m)) {
		b = appendBreak(b, i > 0, depth+1)
		b = append(appendString(b, key), ": "...)
		b = AppendJSON(b, m[key], depth+1)
	}
	return append(appendBreak(b, false, depth), '}')
}

func appendBreak(b []byte, comma bool, depth int) []byte {
	if comma {
		b = append(b, ',')
	}
	b = append(b, '\n')
	return append(b, strings.Repeat("    ", depth)...)
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r < 0x20:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r) // U+FFFD for a byte that isn't UTF-8
		}
		i += size
	}
	return append(b, '"')
}

// PythonFloat is a float as Python's json module writes it.
func PythonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.ContainsRune(s, '.') {
		s += ".0"
	}
	return s
}
