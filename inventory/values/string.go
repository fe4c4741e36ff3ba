package values

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// strings is one string literal or several in a row, which Python puts together.
func (p *literalParser) strings() (any, error) {
	var b strings.Builder
	isBytes := false
	for first := true; ; first = false {
		p.skip()
		raw, bytes, quote, ok := stringPrefix(p.rest)
		if !ok {
			if first {
				return nil, errNoLiteral
			}
			break
		}
		if !first && bytes != isBytes {
			return nil, errNoLiteral
		}
		isBytes = bytes
		p.rest = p.rest[quote:]
		if err := p.stringBody(&b, raw, bytes); err != nil {
			return nil, err
		}
	}
	if isBytes {
		return PythonBytes(b.String()), nil
	}
	return b.String(), nil
}

// stringPrefix looks for a string literal: its prefix letters and at which byte its quote stands.
func stringPrefix(s string) (raw, bytes bool, quote int, ok bool) {
	i := strings.IndexAny(s, `'"`)
	if i < 0 || i > 2 {
		return false, false, 0, false
	}
	switch strings.ToLower(s[:i]) {
	case "", "u":
		return false, false, i, true
	case "r":
		return true, false, i, true
	case "b":
		return false, true, i, true
	case "br", "rb":
		return true, true, i, true
	}
	return false, false, 0, false
}

// stringBody reads a quoted string, of which rest begins with the quote.
func (p *literalParser) stringBody(b *strings.Builder, raw, bytes bool) error {
	quote := p.rest[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(p.rest, triple) {
		quote = triple
	}
	p.rest = p.rest[len(quote):]
	for {
		switch {
		case p.rest == "" || p.rest[0] == '\n' && len(quote) == 1:
			return errNoLiteral
		case strings.HasPrefix(p.rest, quote):
			p.rest = p.rest[len(quote):]
			return nil
		case p.rest[0] == '\\' && raw:
			if len(p.rest) < 2 {
				return errNoLiteral
			}
			_, size := utf8.DecodeRuneInString(p.rest[1:])
			b.WriteString(p.rest[:1+size])
			p.rest = p.rest[1+size:]
		case p.rest[0] == '\\':
			if err := p.escape(b, bytes); err != nil {
				return err
			}
		default:
			if bytes && p.rest[0] >= 0x80 {
				return errNoLiteral
			}
			b.WriteByte(p.rest[0])
			p.rest = p.rest[1:]
		}
	}
}

// escape reads a backslash and what it escapes.
func (p *literalParser) escape(b *strings.Builder, bytes bool) error {
	if len(p.rest) < 2 {
		return errNoLiteral
	}
	c := p.rest[1]
	if i := strings.IndexByte(`\'"abfnrtv`, c); i >= 0 {
		b.WriteByte("\\'\"\a\b\f\n\r\t\v"[i])
		p.rest = p.rest[2:]
		return nil
	}
	switch {
	case c >= '0' && c <= '7':
		n := 1
		for n < 3 && 1+n < len(p.rest) && p.rest[1+n] >= '0' && p.rest[1+n] <= '7' {
			n++
		}
		return p.code(b, p.rest[1:1+n], 8, 1+n, bytes)
	case c == 'x':
		return p.hex(b, 2, bytes)
	case c == 'u' && !bytes:
		return p.hex(b, 4, bytes)
	case c == 'U' && !bytes:
		return p.hex(b, 8, bytes)
	case c == 'N' && !bytes:
		return errNoLiteral // names of characters; nobody writes them into inventories
	case c == '\n':
		p.rest = p.rest[2:]
		return nil
	}
	b.WriteByte('\\') // Python keeps the backslash of an escape that it doesn't know
	p.rest = p.rest[1:]
	return nil
}

func (p *literalParser) hex(b *strings.Builder, digits int, bytes bool) error {
	if len(p.rest) < 2+digits {
		return errNoLiteral
	}
	return p.code(b, p.rest[2:2+digits], 16, 2+digits, bytes)
}

// code writes the character or byte of that number and goes on behind it.
func (p *literalParser) code(b *strings.Builder, digits string, base, length int, bytes bool) error {
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || !bytes && !utf8.ValidRune(rune(n)) {
		return errNoLiteral
	}
	if bytes {
		b.WriteByte(byte(n))
	} else {
		b.WriteRune(rune(n))
	}
	p.rest = p.rest[length:]
	return nil
}
