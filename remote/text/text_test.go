package text

import (
	"strings"
	"testing"
	"unicode"
)

func TestNothingInvisibleIsLeftInvisible(t *testing.T) {
	for _, r := range []rune{
		0, '\n', '\t', '\r', 0x1b, 0x7f, 0x85, 0x9b, 0xa0, 0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x180b, 0x180e, 0x200b, 0x200c, 0x200d,
		0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2060, 0x2061, 0x2064, 0x2065, 0x2066, 0x2069, 0x206f, 0x2800, 0x3000, 0x3164, 0xe000,
		0xfe00, 0xfe0f, 0xfeff, 0xffa0, 0xfff9, 0xfffb, 0xffff, 0x16fe4, 0x1bca0, 0x1d159, 0x1d173, 0xe0001, 0xe0020, 0xe007f, 0xe0100, 0xe01ef,
	} {
		in := "a" + string(r) + "b"
		got := Escape(in)
		if strings.ContainsRune(got, r) || !strings.HasPrefix(got, `a\`) || !strings.HasSuffix(got, "b") {
			t.Errorf("U+%04X: got %q", r, got)
		}
		if Clean(in) != got {
			t.Errorf("U+%04X: Clean says %q", r, Clean(in))
		}
	}
	for _, words := range []string{"", "ok", "Größe: 5 µm", "日本語", "naïve", "e\u0301", "→ … “x”", "emoji 🙂", `back\slash`, "  indented"} {
		if got := Escape(words); got != words {
			t.Errorf("%q became %q", words, got)
		}
	}
}

func TestMarksStayOnTheirLetter(t *testing.T) {
	heap := "a" + strings.Repeat("\u0301", 50) + "b"
	if got := Escape(heap); strings.Count(got, "\u0301") != maxMarks {
		t.Errorf("got %q", got)
	}
	if got := Escape("\u0336x"); got != `\u0336x` {
		t.Errorf("a mark at the beginning: %q", got)
	}
}

func TestAMessageIsOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"one\nweb-02  ok  healthy\n": `one\nweb-02  ok  healthy`, "a\tb": `a\tb`, " x \n": "x", "a\r\nb": `a\x0d\nb`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) is %q, not %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"one\n\n  two  three\n": "one; two three", "a\tb": "a b", "a\u2028b": "a b", "\u3164": `\u3164`,
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) is %q, not %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"a\nb\tc", "\x1b[31m\u202e\u3164\xff", "e\u0301\u0301\u0301\u0301\u0301", "\U000e0001", strings.Repeat("\x01", 3000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{Escape(s), Clean(s), Line(s)} {
			for _, r := range got {
				if !visible(r) || unicode.IsControl(r) {
					t.Errorf("%q: U+%04X is left in %q", s, r, got)
				}
			}
			if again := Escape(got); again != got && !strings.HasSuffix(got, "…") {
				t.Errorf("%q became %q", got, again)
			}
		}
		if len(Clean(s)) > maxClean+20 || len(Line(s)) > maxClean+20 {
			t.Errorf("too long: %d, %d", len(Clean(s)), len(Line(s)))
		}
	})
}
