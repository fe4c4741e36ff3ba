package versions

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/compatibility.md anew")

const docPath = "../../docs/compatibility.md"

// TestTheDocumentIsUpToDate compares docs/compatibility.md with the table: go test ./enroll/versions -update writes it.
func TestTheDocumentIsUpToDate(t *testing.T) {
	want := document()
	if *update {
		if err := os.WriteFile(docPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/compatibility.md is not what the table says: go test ./enroll/versions -update, and look at the difference")
	}
}

func TestCells(t *testing.T) {
	for _, c := range []struct {
		capability Capability
		line       int
		want       string
	}{
		{StartPIDFile, 15, "–"}, {StartPIDFile, 17, "from 17.7.10"}, {StartPIDFile, 18, "from 18.4.0"}, {StartPIDFile, 19, "yes"},
		{StrictTopLevel, 15, "yes"}, {StrictTopLevel, 17, "to 17.2.7"}, {ReadyzMisleads, 17, "17.5.3 alone?"},
		{RejoinFailureExits, 18, "18.0.0 alone"}, {ServicesTakeOutputs, 15, "from 15.4.9?"}, {SerialOnlyRule, 15, "yes?"},
		{ReadyzSticky, 17, "17.5.4 to 17.7.16, perhaps from 17.7.17"}, {BotInstanceTimes, 16, "perhaps from 16.4.8"},
	} {
		i := slices.IndexFunc(lines, func(l line) bool { return l.from.major == c.line })
		if got := lines[i].cell(table[c.capability]); got != c.want {
			t.Errorf("%s in %d: %q, not %q", c.capability, c.line, got, c.want)
		}
	}
}

// line is a column of the table of versions.
type line struct {
	name     string
	from, to Version
}

var lines = []line{
	{"15.3+", must("15.3.0"), must("15.x")}, {"16", must("16.0.0"), must("16.x")}, {"17", must("17.0.0"), must("17.x")},
	{"18", must("18.0.0"), must("18.x")}, {"19 \\*", must("19.0.0"), must("19.x")}, {"newer \\*", must("20.0.0"), must("9999.x")},
}

// cell says in which versions of a line a capability is there.
func (l line) cell(e Entry) string {
	var parts []string
	for _, r := range e.Ranges {
		from, to := later(r.From, l.from), l.to
		if !r.Open() && r.To.Compare(to) < 0 {
			to = r.To
		}
		if from.Compare(to) <= 0 {
			parts = append(parts, l.part(r, from, to))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "–")
}

func (l line) part(r Range, from, to Version) string {
	s := fmt.Sprintf("%s to %s", from, to)
	switch {
	case from == l.from && to == l.to:
		s = "yes"
	case from == to:
		s = from.String() + " alone"
	case from == l.from:
		s = "to " + to.String()
	case to == l.to:
		s = "from " + from.String()
	}
	switch {
	case r.Vague:
		return "perhaps " + s
	case r.How == Inferred:
		return s + "?"
	}
	return s
}

func later(a, b Version) Version {
	if a.Compare(b) > 0 {
		return a
	}
	return b
}

const docHead = `<!-- Written by go test ./enroll/versions -update from the table in enroll/versions. Changes go there. -->
# Teleport versions

What fleetctl knows of Teleport 15.3 and later, by exact version. It goes by this where what belongs into tbot.yaml and the
unit, which flags a tbot takes and what its answers mean depend on the version.

How sure a thing is:

| word | it was |
|---|---|
| source | read in Teleport's source, at the commit after the @ |
| golden | read in a golden file of Teleport's own tests |
| changelog | a line of a release's CHANGELOG |
| pr | the text of a pull request |
| inferred | concluded, e.g. a release from the date of a merge; marked ? below |

What was read: %s; and the master branch of August 2026.
Newer versions of a line are taken to be as its newest that was read. **19 and whatever comes after it are extrapolated**:
from master, and from ranges without an end. A pre-release is before its release, so it lacks what came with it; of a
development build (-dev) nothing is certain, and fleetctl takes the careful side. A number like #60477 is a pull request
of [gravitational/teleport](https://github.com/gravitational/teleport).

tbot must know the tpm join method, so the oldest is 15.3.0. It must be of the cluster's major version or of the one
before; a newer one and an older one are not supported
(%s).

`

// document is docs/compatibility.md.
func document() []byte {
	var b bytes.Buffer
	var read []string
	for _, major := range []int{15, 16, 17, 18} {
		read = append(read, fmt.Sprintf("%d up to %s", major, lastRead[major]))
	}
	fmt.Fprintf(&b, docHead, strings.Join(read, ", "), windowSource)
	writeLines(&b)
	writeRanges(&b)
	writeChanges(&b)
	return b.Bytes()
}

func writeLines(b *bytes.Buffer) {
	fmt.Fprint(b, "## By line\n\n\"?\" is inferred, \"\\*\" is extrapolated.\n\n|")
	for _, l := range lines {
		fmt.Fprintf(b, " | %s", l.name)
	}
	fmt.Fprintf(b, " |\n|---|%s\n", strings.Repeat("---|", len(lines)))
	var group Group
	for _, e := range entries {
		if e.Group != group {
			group = e.Group
			fmt.Fprintf(b, "| **%s** |%s\n", group, strings.Repeat(" |", len(lines)))
		}
		fmt.Fprintf(b, "| %s |", e.Title)
		for _, l := range lines {
			fmt.Fprintf(b, " %s |", l.cell(e))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
}

func writeRanges(b *bytes.Buffer) {
	fmt.Fprint(b, "## By capability\n\n| | versions | how sure | source | besides |\n|---|---|---|---|---|\n")
	for _, e := range entries {
		title, note := e.Title, e.Note
		for _, r := range e.Ranges {
			how := string(r.How)
			if r.Vague {
				how = "unknown where"
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", title, r, how, r.Source, note)
			title, note = "", ""
		}
	}
	fmt.Fprintln(b)
}

// change is one edge of one range.
type change struct {
	at   Version
	text string
}

func writeChanges(b *bytes.Buffer) {
	fmt.Fprint(b, "## By version\n\nWhat an upgrade changes: what the version is the first or the last to have in its line.\n\n")
	fmt.Fprint(b, "| version | first with | last with |\n|---|---|---|\n")
	first, last := edges()
	at := map[Version]bool{}
	for _, c := range slices.Concat(first, last) {
		at[c.at] = true
	}
	for _, v := range slices.SortedFunc(maps.Keys(at), Version.Compare) {
		fmt.Fprintf(b, "| %s | %s | %s |\n", v, textsAt(first, v), textsAt(last, v))
	}
}

func edges() (first, last []change) {
	for _, e := range entries {
		for i, r := range e.Ranges {
			if r.Vague {
				continue
			}
			if r.From.Compare(lines[0].from) >= 0 {
				first = append(first, change{r.From, e.Title})
			}
			if e.ends(i) {
				last = append(last, change{r.To, e.Title})
			}
		}
	}
	return first, last
}

// ends says whether a range ends with a version that is known, and not only because its line does.
func (e Entry) ends(i int) bool {
	r, final := e.Ranges[i], i == len(e.Ranges)-1
	switch {
	case r.Open():
		return false
	case final:
		return true
	}
	return !strings.HasSuffix(r.To.String(), ".x") && !e.Ranges[i+1].Vague
}

func textsAt(all []change, at Version) string {
	var texts []string
	for _, c := range all {
		if c.at == at {
			texts = append(texts, c.text)
		}
	}
	return strings.Join(texts, "; ")
}
