package screen

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestStyleOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		width int
		env   string
		want  Style
	}{
		{80, "TERM=xterm LANG=de_DE.UTF-8", Style{Color: true, Width: 80}},
		{0, "LANG=C.UTF-8", Style{}},
		{0, "LANG=C.UTF-8 CLICOLOR_FORCE=1", Style{Color: true}},
		{80, "LANG=C.UTF-8 NO_COLOR=1 CLICOLOR_FORCE=1", Style{Width: 80}},
		{80, "LANG=C.UTF-8 CLICOLOR=0", Style{Width: 80}},
		{80, "LANG=C.UTF-8 TERM=dumb", Style{ASCII: true, Width: 80}},
		{80, "LANG=en_US.UTF-8 LC_ALL=C", Style{Color: true, ASCII: true, Width: 80}},
		{0, "", Style{ASCII: true}},
	} {
		env := map[string]string{}
		for kv := range strings.FieldsSeq(tt.env) {
			k, v, _ := strings.Cut(kv, "=")
			env[k] = v
		}
		if got := StyleOf(tt.width, func(name string) string { return env[name] }); got != tt.want {
			t.Errorf("%d, %s: %+v, want %+v", tt.width, tt.env, got, tt.want)
		}
	}
}

func TestWhatCanNotBeShownIsWrittenInASCII(t *testing.T) {
	t.Parallel()
	if got := (Style{ASCII: true}).Say("a → b … é"); got != `a -> b ... \u00e9` {
		t.Error(got)
	}
	if got := (Style{}).Say("a → é"); got != "a → é" {
		t.Error(got)
	}
	if got := (Style{}).Paint(Bad, "x"); got != "x" {
		t.Errorf("%q", got)
	}
}

// table is a table as it is written.
func table(t *testing.T, style Style, rows ...string) []string {
	t.Helper()
	tab := Table{Style: style, Tint: func(cell string) Color {
		if cell == "failed" {
			return Bad
		}
		return Default
	}}
	for _, r := range rows {
		tab.Add(strings.Split(r, "|"))
	}
	var b bytes.Buffer
	if err := tab.Write(&b); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func TestATableIsAsWideAsItsTerminal(t *testing.T) {
	t.Parallel()
	rows := []string{"HOST|OUTCOME|MESSAGE", "web-01|ok|", "a-host-with-a-name-that-nobody-can-remember.example.com|failed|" + strings.Repeat("word ", 40)}
	for _, width := range []int{60, 80, 120} {
		for _, line := range table(t, Style{Width: width}, rows...) {
			if Width(line) > width {
				t.Errorf("%d: %q has %d", width, line, Width(line))
			}
		}
	}
	got := table(t, Style{Width: 80}, rows...)
	if !strings.HasSuffix(got[2], "…") || !strings.Contains(got[2], "  failed") {
		t.Errorf("%q", got)
	}
	if got := table(t, Style{}, rows...); !strings.HasSuffix(got[2], "word ") {
		t.Errorf("without a terminal nothing is cut: %q", got)
	}
}

func TestANarrowTableLeavesColumnsOut(t *testing.T) {
	t.Parallel()
	for width, want := range map[int]string{
		0:   "HOST|OUTCOME|HASH|SERIAL|EMPTY|MESSAGE",
		120: "HOST|OUTCOME|HASH|SERIAL|EMPTY|MESSAGE",
		89:  "HOST|OUTCOME|HASH|SERIAL|MESSAGE",
		80:  "HOST|OUTCOME|HASH|MESSAGE",
		57:  "HOST|OUTCOME|HASH|MESSAGE",
		50:  "HOST|OUTCOME|MESSAGE",
	} {
		tab := Table{Style: Style{Width: width}, Spare: []string{"NONE", "SERIAL"}, Dear: []string{"HASH"}}
		tab.Add([]string{"HOST", "OUTCOME", "HASH", "SERIAL", "EMPTY", "MESSAGE"})
		tab.Add([]string{"web-01", "unreachable", strings.Repeat("a", 12), strings.Repeat("b", 10), "", strings.Repeat("word ", 40)})
		tab.Add([]string{"web-02", "ok", strings.Repeat("a", 12), strings.Repeat("b", 10), "", ""})
		var b bytes.Buffer
		if err := tab.Write(&b); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(b.String(), "\n")
		if got := strings.Join(strings.Fields(lines[0]), "|"); got != want {
			t.Errorf("%d: %s, want %s", width, got, want)
		}
		if n := Width(lines[1]); width > 0 && n > width || width == 0 && n < 200 {
			t.Errorf("%d: %q has %d", width, lines[1], n)
		}
	}
}

func TestATableCountsColumns(t *testing.T) {
	t.Parallel()
	got := table(t, Style{Color: true}, "HOST|STATE", "主机-01|failed", "web-01|ok")
	want := []string{"HOST     STATE", "主机-01  \x1b[1;31mfailed\x1b[0m", "web-01   ok"}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%q", got)
	}
}

func TestUnique(t *testing.T) {
	t.Parallel()
	for want, texts := range map[int][]string{4: nil, 5: {"aaaab", "aaaac"}, 6: {"aaaa", "aaaaaa", "aaaaab", "b"}} {
		if got := Unique(texts, 4); got != want {
			t.Errorf("%v: %d, want %d", texts, got, want)
		}
	}
}

func TestGroupsAreOfOneShape(t *testing.T) {
	t.Parallel()
	g := Groups[string, string]{Most: 2}
	add := func(host, message string) bool { return g.Add("failed", host, message, host) }
	first := []bool{
		add("web-01", "10.0.0.1:22: connection refused"), add("web-02", "10.0.0.2:22: connection refused"), add("web-03", "no route"),
		add("web-04", "something"), add("web-05", "something else"), add("web-01", "web-01 says no"),
	}
	if fmt.Sprint(first) != "[true false true true false false]" {
		t.Error(first)
	}
	var got []string
	for _, in := range g.All() {
		got = append(got, fmt.Sprint(in.Hosts, in.Other))
	}
	if want := "[web-01 web-02] false; [web-03] false; [web-04 web-05 web-01] true"; strings.Join(got, "; ") != want {
		t.Errorf("%s", strings.Join(got, "; "))
	}
}

func TestShapes(t *testing.T) {
	t.Parallel()
	for _, same := range [][2]string{
		{"dial 10.0.0.1:22: timeout", "dial 10.0.0.2:2222: timeout"},
		{"lookup web-01.example.com: no such host", "lookup web-02.example.com: no such host"},
		{`it said "a"`, `it said "b"`}, {"web-01 is not well", "web-02 is not well"},
	} {
		if Shape("web-01", same[0]) != Shape("web-02", same[1]) {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
	if Shape("a", "/etc/tbot: denied") == Shape("a", "/var/lib: denied") {
		t.Error("paths make no difference")
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := NewProgress("scan", 100, now)
	want := func(width int, text string) {
		t.Helper()
		if got := p.Text(now, width); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
	want(0, "scan 0/100")
	for i := range 12 {
		p.At(fmt.Sprintf("web-%02d", i), "connecting", now)
	}
	for i := range 10 {
		now = now.Add(time.Second)
		p.Done(fmt.Sprintf("web-%02d", i), i%5 == 0, now)
	}
	p.Stage("batch 2 of 5")
	p.At("web-11", "asking its TPM", now)
	want(0, "scan 10/100, 2 failed, batch 2 of 5, 2 running, about 2 min left, web-10: connecting for 10 s, 1/s")
	want(80, "scan 10/100, 2 failed, batch 2 of 5, 2 running, about 2 min left, 1/s")
	want(10, "scan 10/10")
	if p.Running() != 2 || p.Left() != 88 || p.Fraction() != 0.1 {
		t.Errorf("%d running, %d left, %g", p.Running(), p.Left(), p.Fraction())
	}
	now = now.Add(time.Minute) // nothing ended in the last half minute: nobody knows how long it takes
	want(0, "scan 10/100, 2 failed, batch 2 of 5, 2 running, web-10: connecting for 70 s")
}

func TestRough(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		1400 * time.Millisecond: "1 s", 89 * time.Second: "89 s", 100 * time.Second: "2 min", 3 * time.Hour: "3 h",
		2*time.Hour + 12*time.Minute: "2 h 10 min",
	} {
		if got := Rough(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestOthersWriteAboveTheLine(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := NewLine(&b)
	fmt.Fprintln(l, "before")
	l.Show("scan 1/2")
	l.Show("scan 1/2")
	fmt.Fprintln(l, "web-01: failed")
	l.Show("")
	if got, want := b.String(), "before\n\r\x1b[Kscan 1/2\r\x1b[Kweb-01: failed\nscan 1/2\r\x1b[K"; got != want || l.Shown() {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	if got := Wrap("web-[1,3,5,7-9], db", 9); strings.Join(got, "|") != "web-[1,3,|5,7-9],|db" {
		t.Errorf("%q", got)
	}
	if got := Wrap("aa, bb, cccccccc, d", 7); strings.Join(got, "|") != "aa, bb,|cccccccc,|d" {
		t.Errorf("%q", got)
	}
}
