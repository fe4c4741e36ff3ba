package enrolltest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"fleetctl/enroll/enrolltest/shparse"
)

// asked is a script that asks: the variables on its top, and the keys that it may answer with.
type asked struct {
	vars map[string]string
	keys []string
	text string

	lines map[*regexp.Regexp][][]string // of factLine and its kin: what matches
}

var (
	askedVar = regexp.MustCompile(`^([A-Za-z]+)=((?:[^\s'"]|'[^']*'|\\')*)$`)
	askedKey = regexp.MustCompile(`\b(?:kv ([a-z][a-z0-9._]*) |echo ([a-z][a-z0-9._]*)=[a-z0-9]+\b)`)
)

// readAsked reads the variables and keys of a script. Variables are at its top, one a line, before anything else.
func readAsked(text string) asked {
	asks.Lock()
	defer asks.Unlock()
	a, ok := asks.read[text]
	if !ok {
		a = read(text)
		if asks.read == nil || len(asks.read) >= maxScripts {
			asks.read = map[string]asked{}
		}
		asks.read[text] = a
	}
	a.keys = slices.Clone(a.keys)
	return a
}

// asks are what was read already: a fleet is asked the same again and again.
var asks struct {
	sync.Mutex
	read map[string]asked
}

func read(text string) asked {
	a := asked{vars: map[string]string{}, text: text, lines: map[*regexp.Regexp][][]string{}}
	open := ""
	for line := range strings.Lines(text) {
		open += line
		if strings.Count(open, "'")%2 == 1 {
			continue // a value of several lines
		}
		m := askedVar.FindStringSubmatch(strings.TrimSuffix(open, "\n"))
		if m == nil {
			break
		}
		if list, err := shparse.Parse("x=" + m[2]); err == nil {
			a.vars[m[1]] = (&shell{}).text(list[0].Pipes[0].Cmds[0].Assigns[0].Value)
		}
		open = ""
	}
	for _, m := range askedKey.FindAllStringSubmatch(text, -1) {
		a.keys = append(a.keys, m[1]+m[2])
	}
	for _, line := range []*regexp.Regexp{factLine, madeLine, aboveLine, wayLine} {
		a.lines[line] = line.FindAllStringSubmatch(text, -1)
	}
	return a
}

// check fails the test for a variable or a key that the model does not know: a new fact needs an answer here.
func (h *Host) check(what string, a asked, vars string, answers map[string]bool) bool {
	ok := true
	for name := range a.vars {
		if !slices.Contains(strings.Fields(vars), name) {
			h.failf("not modelled: %s gives the variable %s", what, name)
			ok = false
		}
	}
	for _, key := range a.keys {
		if !answers[key] {
			h.failf("not modelled: %s asks for %s", what, key)
			ok = false
		}
	}
	return ok
}

// answer collects lines "key=value".
type answer struct {
	strings.Builder
	known map[string]bool
}

func newAnswer(known string) *answer {
	a := &answer{known: map[string]bool{"end": true}}
	for _, key := range strings.Fields(known) {
		a.known[key] = true
	}
	return a
}

func (a *answer) kv(key string, value any) {
	fmt.Fprintf(a, "%s=%s\n", key, printableFact(fmt.Sprint(value)))
}

// yes prints a fact that is left out where it is false.
func (a *answer) yes(key string, is bool) {
	if is {
		a.kv(key, 1)
	}
}
