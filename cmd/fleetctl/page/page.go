// Package page writes a report as one HTML file that needs nothing else: no network, no other file, and no script but for
// sorting and filtering. It lays out and words what it is given, and looks nothing up.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/report"
	"fleetctl/remote"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed head.js
var headJS string

//go:embed page.js
var pageJS string

// firstHosts are the rows of the table of hosts that a browser makes elements of at once. The others stand in a noscript: it is
// text to a browser with scripts, which makes rows of it when somebody wants to see them, and a table to one without.
const firstHosts = 100

// Write writes the page. Hosts and log go out as they are read: memory does not grow with them. When it fails, the page is
// cut, and lacks the line that says that it is whole.
func Write(w io.Writer, r report.Report) error {
	var unread error
	funcs := functions()
	funcs["must"] = func(err error) (string, error) {
		unread = err
		return "", err
	}
	written := 0
	funcs["full"] = func() bool { written++; return written == firstHosts+1 }
	funcs["continued"] = func() bool { return written > firstHosts }
	page, err := template.New("page").Funcs(funcs).Parse(pageHTML)
	if err != nil {
		return err
	}
	err = page.Execute(w, struct {
		report.Report
		CSS    template.CSS
		Head   template.JS
		JS     template.JS
		Policy string
	}{r, template.CSS(pageCSS), template.JS(headJS), template.JS(pageJS), policy()})
	if unread != nil {
		return unread // without the words of the template
	}
	return err
}

// policy allows the style and the scripts of the page, by their hashes, and nothing else.
func policy() string {
	return strings.Join([]string{
		"default-src 'none'", "style-src " + hashSource(pageCSS), "script-src " + hashSource(headJS) + " " + hashSource(pageJS),
		"img-src data:", // the empty icon, without which browsers ask the server for one
		"base-uri 'none'", "form-action 'none'",
	}, "; ")
}

// hashSource is a hash-source of CSP (Content Security Policy Level 3, section 2.3.1).
func hashSource(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// functions are what the template knows. Everything that was not written here goes through one of the first three.
func functions() template.FuncMap {
	return template.FuncMap{
		"one":      func(s any) string { return remote.Escape(fmt.Sprint(s)) },
		"cut":      func(s string) string { return remote.Cut(remote.Escape(s), 300) },
		"join":     func(list []string) string { return remote.Escape(strings.Join(list, ", ")) },
		"n":        number[int],
		"n64":      number[int64],
		"hosts":    func(n int) string { return plural(n, "host") },
		"minus":    func(a, b int) int { return a - b },
		"date":     func(t time.Time) string { return format(t, "2006-01-02") },
		"minute":   func(t time.Time) string { return format(t, "2006-01-02 15:04") },
		"took":     took,
		"severity": func(c outcome.Code) string { return severity(outcome.Lookup(c).Severity) },
		"class":    severity,
		"word":     severityWord,
		"outcomes": outcomes,
		"share":    func(n, of int) string { return percent(n, of, 2) },
		"bars":     newBars,
		"columns":  newColumns,
		"line":     newLine,
	}
}

func format(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(layout)
}

// number groups digits by three: 20,000.
func number[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(n) + " " + what + "s"
}

// took is how long something ran; "" when it has no end.
func took(from, to time.Time) string {
	if to.IsZero() {
		return ""
	}
	return to.Sub(from).Round(time.Second).String()
}

// severity is the class of a severity; what has none is info.
func severity(s outcome.Severity) string {
	switch s {
	case outcome.Alarm, outcome.Trouble, outcome.Attention:
		return string(s)
	}
	return string(outcome.Info)
}

func severityWord(s outcome.Severity) string {
	word := severity(s)
	return strings.ToUpper(word[:1]) + word[1:]
}

// outcomes names the ends of hosts in a run, the good ones first.
func outcomes(counts map[string]int) string {
	var parts []string
	for _, o := range []outcome.Outcome{
		outcome.OK, outcome.Changed, outcome.Skipped, outcome.Unreachable, outcome.Failed, outcome.Canceled,
	} {
		if n := counts[string(o)]; n > 0 {
			parts = append(parts, string(o)+" "+number(n))
		}
	}
	return strings.Join(parts, ", ")
}
