package docs

import (
	"bufio"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// page is a page of the documentation, as far as something is to be tried of it.
type page struct {
	setting map[string]string // of the comment "tested"; nil without one
	steps   []step            // in order
	loose   []command         // fleetctl's command lines in blocks that are not run
}

// step is a command of a terminal with what it says, or a file.
type step struct {
	line int // of the page, from 1
	file string
	text string   // of the file, or the command
	code int      // the command's exit code
	says []string // lines of its output
}

// command is a command line with its place.
type command struct {
	line int
	text string
}

var (
	settingLine = regexp.MustCompile(`^<!-- tested: (.*) -->$`)
	exitComment = regexp.MustCompile(`\s+# exit code (\d+)$`)
	fence       = regexp.MustCompile("^```\\s*([a-z]*) ?(\\S*)$")
)

// reader reads a page line by line.
type reader struct {
	page
	n     int
	block string   // the language of the block that is open, "" for none
	open  bool     // a fenced block is
	file  string   // its file
	lines []string // of the file
	begun int      // where the block begins
}

// readPage reads a page of Markdown.
func readPage(text string) (page, error) {
	var r reader
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		r.n++
		if err := r.take(s.Text()); err != nil {
			return r.page, fmt.Errorf("line %d: %w", r.n, err)
		}
	}
	if r.open {
		return r.page, fmt.Errorf("line %d: the block has no end", r.begun)
	}
	return r.page, nil
}

func (r *reader) take(line string) error {
	m := fence.FindStringSubmatch(line)
	switch {
	case m != nil && r.open:
		r.close()
	case m != nil:
		r.open, r.block, r.file, r.begun, r.lines = true, m[1], m[2], r.n, nil
	case r.open && r.file != "":
		r.lines = append(r.lines, line)
	case r.open && r.block == "console":
		return r.terminal(line)
	case r.open, strings.HasPrefix(line, "    "):
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(line), "bin/"), "fleetctl "); ok {
			r.loose = append(r.loose, command{r.n, rest})
		}
	default:
		return r.settings(line)
	}
	return nil
}

// close ends a block: a file is whole.
func (r *reader) close() {
	if r.file != "" {
		r.steps = append(r.steps, step{line: r.begun, file: r.file, text: strings.Join(r.lines, "\n") + "\n"})
	}
	r.open = false
}

// terminal takes a line of a terminal: a command, or what the last one says.
func (r *reader) terminal(line string) error {
	text, ok := strings.CutPrefix(line, "$ ")
	if !ok {
		if len(r.steps) == 0 || r.steps[len(r.steps)-1].line < r.begun {
			return fmt.Errorf("%q is the output of no command", line)
		}
		last := &r.steps[len(r.steps)-1]
		last.says = append(last.says, line)
		return nil
	}
	s := step{line: r.n, text: text}
	if m := exitComment.FindStringSubmatch(text); m != nil {
		s.text = strings.TrimSuffix(text, m[0])
		s.code, _ = strconv.Atoi(m[1]) // digits
	}
	r.steps = append(r.steps, s)
	return nil
}

func (r *reader) settings(line string) error {
	m := settingLine.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	if r.setting != nil || len(r.steps) > 0 {
		return fmt.Errorf("what there is to begin with is said once, before all commands")
	}
	r.setting = map[string]string{}
	for field := range strings.FieldsSeq(m[1]) {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("%q is not KEY=VALUE", field)
		}
		r.setting[key] = value
	}
	return nil
}

// missing is the first of the wanted lines that is not among the lines said after those before it; "" when all are there.
func missing(want []string, said string) string {
	lines := strings.Split(said, "\n")
	at := 0
	for _, w := range want {
		if strings.TrimSpace(w) == "" || strings.TrimSpace(w) == "…" {
			continue
		}
		pattern := linePattern(w)
		for at < len(lines) && !pattern.MatchString(lines[at]) {
			at++
		}
		if at == len(lines) {
			return w
		}
		at++
	}
	return ""
}

// linePattern matches a line that is alike: "…" is any text, and blanks are as many as there are.
func linePattern(line string) *regexp.Regexp {
	var parts []string
	for part := range strings.SplitSeq(line, "…") {
		words := strings.Fields(part)
		for i := range words {
			words[i] = regexp.QuoteMeta(words[i])
		}
		parts = append(parts, strings.Join(words, `\s+`))
	}
	return regexp.MustCompile(`^\s*` + strings.Join(parts, `.*`) + `\s*$`)
}
