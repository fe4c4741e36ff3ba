package screen

import (
	"cmp"
	"fmt"
	"strings"
)

// Style is what may be shown: colours on a terminal that has them, signs beyond ASCII where they can be read.
type Style struct {
	Color bool
	ASCII bool
	Width int // of the terminal, in columns; 0: there is none, and no line is too long
}

// StyleOf is the style for a terminal, or for what is none (width 0), by the environment: NO_COLOR (no-color.org), CLICOLOR
// and CLICOLOR_FORCE (bixense.com/clicolors), TERM, and the locale (POSIX, chapter 8).
func StyleOf(width int, getenv func(string) string) Style {
	dumb := getenv("TERM") == "dumb"
	s := Style{Width: width, ASCII: dumb || inC(getenv)}
	switch {
	case getenv("NO_COLOR") != "":
	case forced(getenv("CLICOLOR_FORCE")):
		s.Color = true
	case width > 0:
		s.Color = !dumb && getenv("CLICOLOR") != "0"
	}
	return s
}

func forced(value string) bool { return value != "" && value != "0" }

// inC says whether the locale has ASCII alone. One that nobody set is the C locale.
func inC(getenv func(string) string) bool {
	switch cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG"), "C") {
	case "C", "POSIX":
		return true
	}
	return false
}

// Color is one of the colours of a terminal. None of them says anything that the words beside it don't, and no two that have to
// be told apart are red and green.
type Color string

// Colours: SGR codes (ECMA-48, 8.3.117).
const (
	Default Color = ""
	Bad     Color = "1;31" // bold red
	Warn    Color = "33"   // yellow
	News    Color = "36"   // cyan
	Calm    Color = "2"    // faint
	Strong  Color = "1"    // bold
)

// Paint is a text in a colour.
func (s Style) Paint(c Color, text string) string {
	if !s.Color || c == Default || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// signs are our own signs in ASCII.
var signs = strings.NewReplacer("→", "->", "…", "...", "·", "|", "×", "x")

// Say is a text as it can be shown: with ASCII alone where there is nothing else.
func (s Style) Say(text string) string {
	if !s.ASCII {
		return text
	}
	text = signs.Replace(text)
	if strings.IndexFunc(text, func(r rune) bool { return r > '~' }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if r <= '~' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
