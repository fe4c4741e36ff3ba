package jinja

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is what a token is.
type kind int

const (
	end kind = iota
	name
	integer
	float
	text
	operator
)

// token is a token of an expression: for a text its content, for all others what was written.
type token struct {
	kind kind
	text string
}

// piece is a part of a template: text, or an expression.
type piece struct {
	text   string
	isExpr bool
	expr   []token
}

// marks are what begins something else than text, and how it ends.
var marks = regexp.MustCompile(`\{\{|\{%|\{#`)

// IsTemplate says whether Ansible would take the text for a template.
func IsTemplate(s string) bool { return marks.MatchString(s) }

// split takes a template apart. Statements are refused. As in Ansible's environment, a newline right behind a comment
// belongs to it, and so does one at the end of the template.
func split(s string) ([]piece, error) {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	s = strings.TrimSuffix(s, "\n")
	var pieces []piece
	for s != "" {
		at := marks.FindStringIndex(s)
		if at == nil {
			return append(pieces, piece{text: s}), nil
		}
		before, mark, rest := s[:at[0]], s[at[0]:at[1]], s[at[1]:]
		if strings.HasPrefix(rest, "-") {
			before = strings.TrimRightFunc(before, unicode.IsSpace)
		}
		if before != "" {
			pieces = append(pieces, piece{text: before})
		}
		switch mark {
		case "{%":
			return nil, refuse("a statement ({%% … %%})")
		case "{#":
			var ok bool
			if rest, ok = skipComment(rest); !ok {
				return nil, refuse("a comment that nothing closes")
			}
		default:
			tokens, after, err := lex(strings.TrimLeft(rest, "-+"))
			if err != nil {
				return nil, err
			}
			pieces, rest = append(pieces, piece{isExpr: true, expr: tokens}), after
		}
		s = rest
	}
	return pieces, nil
}

func skipComment(s string) (rest string, ok bool) {
	comment, rest, ok := strings.Cut(s, "#}")
	if strings.HasSuffix(comment, "-") {
		return strings.TrimLeftFunc(rest, unicode.IsSpace), ok
	}
	return strings.TrimPrefix(rest, "\n"), ok
}

// Tokens, longest first.
var (
	floatToken    = regexp.MustCompile(`^\d+(_\d+)*(\.\d+(_\d+)*([eE][+-]?\d+(_\d+)*)?|[eE][+-]?\d+(_\d+)*)`)
	integerToken  = regexp.MustCompile(`^(0[xX](_?[0-9a-fA-F])+|0[oO](_?[0-7])+|0[bB](_?[01])+|[1-9](_?\d)*|0(_?0)*)`)
	nameToken     = regexp.MustCompile(`^[\pL_][\pL\pN_]*`)
	stringToken   = regexp.MustCompile(`(?s)^('([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)")`)
	operatorToken = regexp.MustCompile(`^(//|\*\*|==|!=|>=|<=|[-+/*%~\[\](){}><=.:|,;])`)
)

// lex reads the tokens up to the braces that close the expression, and returns what stands behind them.
func lex(s string) (tokens []token, rest string, err error) {
	var open []byte
	for {
		s = strings.TrimLeftFunc(s, unicode.IsSpace)
		if len(open) == 0 {
			if after, ok := strings.CutPrefix(s, "-}}"); ok {
				return tokens, strings.TrimLeftFunc(after, unicode.IsSpace), nil
			}
			if after, ok := strings.CutPrefix(s, "}}"); ok {
				return tokens, after, nil
			}
		}
		afterDot := len(tokens) > 0 && tokens[len(tokens)-1] == token{operator, "."}
		t, size, err := next(s, afterDot)
		if err != nil {
			return nil, "", err
		}
		if t.kind == operator {
			if open, err = balance(open, t.text[0]); err != nil {
				return nil, "", err
			}
		}
		tokens, s = append(tokens, t), s[size:]
	}
}

// balance keeps which brackets are open.
func balance(open []byte, c byte) ([]byte, error) {
	switch c {
	case '(', '[', '{':
		return append(open, c), nil
	case ')', ']', '}':
		if len(open) == 0 || strings.IndexByte("([{", open[len(open)-1]) != strings.IndexByte(")]}", c) {
			return nil, refuse("a %q that closes nothing", c)
		}
		return open[:len(open)-1], nil
	}
	return open, nil
}

// next is the token at the beginning of s. Behind a dot, "0.1" is two numbers.
func next(s string, afterDot bool) (t token, size int, err error) {
	if s == "" {
		return t, 0, refuse("an expression that nothing closes")
	}
	if m := floatToken.FindString(s); m != "" && !afterDot {
		return token{float, strings.ReplaceAll(m, "_", "")}, len(m), nil
	}
	for _, k := range []struct {
		kind kind
		re   *regexp.Regexp
	}{{integer, integerToken}, {name, nameToken}, {operator, operatorToken}} {
		if m := k.re.FindString(s); m != "" {
			return token{k.kind, m}, len(m), nil
		}
	}
	if m := stringToken.FindString(s); m != "" {
		content := m[1 : len(m)-1]
		// Ansible doubles backslashes before Jinja reads them, so that each stands for itself and none quotes a quote.
		if strings.Contains(content, `\`+m[:1]) {
			return t, 0, refuse("a quote behind a backslash")
		}
		return token{text, content}, len(m), nil
	}
	r, _ := utf8.DecodeRuneInString(s)
	return t, 0, refuse("the character %q", r)
}

// refuse is the error for what is not evaluated here.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnsupported}, args...)...)
}
