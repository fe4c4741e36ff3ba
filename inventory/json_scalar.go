package inventory

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// word is true, false, null or what Python writes for floats that JSON doesn't have.
func (p *jsonParser) word() (*yaml.Node, error) {
	for _, w := range [...]struct{ word, tag, value string }{
		{"true", "!!bool", "true"}, {"false", "!!bool", "false"}, {"null", "!!null", ""},
		{"NaN", "!!float", ".nan"}, {"Infinity", "!!float", ".inf"},
	} {
		if strings.HasPrefix(p.text[p.i:], w.word) {
			n := p.node(yaml.ScalarNode, yaml.TaggedStyle, w.tag)
			n.Value = w.value
			p.i += len(w.word)
			return n, nil
		}
	}
	return nil, p.unexpected("a value")
}

func (p *jsonParser) number() (*yaml.Node, error) {
	n := p.node(yaml.ScalarNode, yaml.TaggedStyle, "!!int")
	rest := p.text[p.i:]
	if strings.HasPrefix(rest, "-Infinity") {
		n.Tag, n.Value = "!!float", "-.inf"
		p.i += len("-Infinity")
		return n, nil
	}
	end := 0
	for end < len(rest) && strings.IndexByte("+-.0123456789eE", rest[end]) >= 0 {
		end++
	}
	n.Value = rest[:end]
	whole, fraction, exponent := splitNumber(n.Value)
	if whole == "" || whole == "-" || len(strings.TrimPrefix(whole, "-")) > 1 && strings.TrimPrefix(whole, "-")[0] == '0' ||
		!digitsOnly(strings.TrimPrefix(whole, "-")) || !fractionFits(fraction) || !exponentFits(exponent) {
		return nil, p.fail("%q is no number", n.Value)
	}
	if fraction != "" || exponent != "" {
		n.Tag = "!!float"
	}
	p.i += end
	return n, nil
}

// splitNumber splits -1.5e+3 into -1, .5 and e+3.
func splitNumber(s string) (whole, fraction, exponent string) {
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		s, exponent = s[:i], s[i:]
	}
	if i := strings.IndexByte(s, '.'); i >= 0 {
		s, fraction = s[:i], s[i:]
	}
	return s, fraction, exponent
}

func digitsOnly(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func fractionFits(s string) bool { return s == "" || digitsOnly(s[1:]) }

func exponentFits(s string) bool {
	if s == "" {
		return true
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return digitsOnly(s)
}

func (p *jsonParser) string() (*yaml.Node, error) {
	n := p.node(yaml.ScalarNode, yaml.TaggedStyle, "!!str")
	p.i++
	rest := p.text[p.i:]
	end := strings.IndexAny(rest, "\"\\")
	if plain := end >= 0 && rest[end] == '"'; plain && !hasControl(rest[:end]) {
		n.Value = rest[:end]
		p.i += end + 1
		return n, nil
	}
	var b strings.Builder
	for p.i < len(p.text) {
		switch c := p.text[p.i]; {
		case c == '"':
			p.i++
			n.Value = b.String()
			return n, nil
		case c < 0x20:
			return nil, p.fail("a control character must be escaped in a string")
		case c == '\\':
			if err := p.escape(&b); err != nil {
				return nil, err
			}
		default:
			b.WriteByte(c)
			p.i++
		}
	}
	return nil, p.fail("")
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 {
			return true
		}
	}
	return false
}

// escape reads a backslash and what it escapes. Half of a surrogate pair becomes U+FFFD.
func (p *jsonParser) escape(b *strings.Builder) error {
	if p.i+1 >= len(p.text) {
		p.i = len(p.text)
		return p.fail("")
	}
	c := p.text[p.i+1]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		b.WriteByte("\"\\/\b\f\n\r\t"[i])
		p.i += 2
		return nil
	}
	r, ok := p.unicode(p.i)
	if !ok {
		return p.fail("the escape \\%c is not known", c)
	}
	p.i += 6
	if utf16.IsSurrogate(r) {
		if low, ok := p.unicode(p.i); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				r = pair
				p.i += 6
			}
		}
	}
	b.WriteRune(r) // U+FFFD for a surrogate
	return nil
}

// unicode is the character of the \uXXXX at byte i.
func (p *jsonParser) unicode(i int) (rune, bool) {
	if i+6 > len(p.text) || p.text[i:i+2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(p.text[i+2:i+6], 16, 16)
	return rune(n), err == nil
}
