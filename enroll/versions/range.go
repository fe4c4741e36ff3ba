package versions

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// How says how a fact came to be known.
type How string

// How sure a fact is, the surest first.
const (
	FromSource    How = "source"    // read in Teleport's source at some commit
	FromGolden    How = "golden"    // read in a golden file of Teleport's own tests
	FromChangelog How = "changelog" // a line of a release's CHANGELOG
	FromPR        How = "pr"        // the text of a pull request
	Inferred      How = "inferred"  // concluded, e.g. a release from the date of a merge
)

// Range is a run of versions for which a capability is there, both ends included.
type Range struct {
	From   Version
	To     Version // the zero Version: still so in the newest that was read
	How    How
	Source string // pull requests as "#60477", files of Teleport's repository as "path@commit"
	Vague  bool   // somewhere in here it begins or ends: the answer is Unknown
}

// Contains says whether a version is in the range. A pre-release of the first version isn't.
func (r Range) Contains(v Version) bool {
	return v.Compare(r.From) >= 0 && (r.Open() || v.Compare(r.To) <= 0)
}

// Open says whether the range has no end.
func (r Range) Open() bool { return r.To.IsZero() }

// String is the range for people: "18.4.0+", "17.7.10–17.x", "17.5.3".
func (r Range) String() string {
	switch {
	case r.Open():
		return r.From.String() + "+"
	case r.From == r.To:
		return r.From.String()
	}
	return r.From.String() + "–" + r.To.String()
}

// since makes a range without an end.
func since(from string, how How, source string) Range {
	return Range{From: must(from), How: how, Source: source}
}

// span makes a range with an end: a version, or "17.x" for the end of that line.
func span(from, to string, how How, source string) Range {
	return Range{From: must(from), To: must(to), How: how, Source: source}
}

// vague makes a range of versions of which some have it and some don't, and nobody knows which.
func vague(from, to, source string) Range {
	r := span(from, to, Inferred, source)
	r.Vague = true
	return r
}

// must parses what stands in the table; tests read all of it.
func must(s string) Version {
	if line, ok := strings.CutSuffix(s, ".x"); ok {
		n, err := strconv.Atoi(line)
		if err == nil {
			return lineEnd(n)
		}
	}
	v, ok := Parse(s)
	if !ok {
		panic(fmt.Sprintf("versions: %q is no version", s))
	}
	return v
}

// lineEnd is after every version with that major number.
func lineEnd(major int) Version {
	return Version{major: major, minor: math.MaxInt32, patch: math.MaxInt32, text: strconv.Itoa(major) + ".x"}
}
