package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/outcome"
)

var update = flag.Bool("update", false, "write docs/statuses.md anew")

const statusesFile = "../../docs/statuses.md"

const statusesIntro = `# Statuses

<!-- Made by "go test ./cmd/fleetctl -run Statuses -update": don't edit it. -->

Every word by which fleetctl says how something is: what it means and what to do about it. "fleetctl explain STATUS" says
the same. HOST stands for the name of a host. How much a status asks of you:

| severity | |
|---|---|
| info | nothing to do |
| warning | look at it when there is time |
| error | it doesn't work before somebody did something |
| alarm | somebody may be lying: find out before going on |
`

// TestStatusesAreDocumented holds docs/statuses.md against the list of codes and what the command line adds to it.
func TestStatusesAreDocumented(t *testing.T) {
	t.Parallel()
	want := []byte(statuses())
	if *update {
		if err := os.WriteFile(statusesFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(statusesFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is stale: run \"go test ./cmd/fleetctl -run Statuses -update\" (%v)", statusesFile, err)
	}
}

// statuses is the document: a table per subject, in the order of the list of codes.
func statuses() string {
	var b strings.Builder
	b.WriteString(statusesIntro)
	var subjects []outcome.Subject
	for _, e := range explanations() {
		if !slices.Contains(subjects, e.Of) {
			subjects = append(subjects, e.Of)
		}
	}
	for _, of := range subjects {
		fmt.Fprintf(&b, "\n## %s\n\n| status | severity | means | what to do |\n|---|---|---|---|\n", title(string(of)))
		for _, e := range explanations() {
			if e.Of == of {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.Code, e.Severity, cell(e.Means), cell(e.do()))
			}
		}
	}
	return b.String()
}

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// cell is a text in a table of Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(s)
}

// TestAdviceIsOfCodesThatThereAre: advice for a code that nobody can meet helps nobody.
func TestAdviceIsOfCodesThatThereAre(t *testing.T) {
	t.Parallel()
	for code := range advice {
		if outcome.Lookup(code).Code == "" {
			t.Errorf("there is no code %q", code)
		}
	}
}
