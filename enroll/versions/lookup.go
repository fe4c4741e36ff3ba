package versions

import (
	"slices"
	"strings"
)

// Answer is what is known of a capability in one version. The zero Answer is Unknown.
type Answer int

// Answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// String is "yes", "no" or "unknown".
func (a Answer) String() string { return [...]string{"unknown", "no", "yes"}[a] }

// Finding is an answer and what it rests on.
type Finding struct {
	Answer       Answer
	How          How    // of the range that the version is in or, for a No, of the one whose edge is next to it
	Source       string // of the same range
	Extrapolated bool   // the version is not among those that were read: the answer is that of the nearest
}

// Sure says whether the answer was read, in words about a version that was read: neither inferred nor extrapolated.
func (f Finding) Sure() bool { return f.Answer != Unknown && f.How != Inferred && !f.Extrapolated }

// Has says whether a version has a capability. Unknown is the answer for the zero Version, for development builds
// (callers who know better ask for their Release), for pre-releases of a new major version where it and its release
// differ, for versions of which nothing was read, and where nobody knows when a thing came. Versions newer than all that
// were read are taken to be as the newest. What to do about Unknown is the caller's choice: Surely or Possibly.
func Has(c Capability, v Version) Answer { return look(c, v).Answer }

// surely says whether a version is known to have a capability: the careful question before using it.
func surely(c Capability, v Version) bool { return Has(c, v) == Yes }

// Possibly says whether a version is not known to lack a capability: the careful question where having it would hurt.
func Possibly(c Capability, v Version) bool { return Has(c, v) != No }

// look is Has, and says what the answer rests on.
func look(c Capability, v Version) Finding {
	e, ok := table[c]
	if !ok || v.IsZero() || v.isDev() {
		return Finding{}
	}
	f := e.at(v)
	if v.isPre() && v.minor == 0 && v.patch == 0 && e.at(v.release()).Answer != f.Answer {
		f.Answer = Unknown // a new major is cut from master, which had most of it before the older lines did
	}
	return f
}

// at looks a version up in the ranges.
func (e Entry) at(v Version) Finding {
	r, in := e.nearest(v)
	f := Finding{Answer: No, How: r.How, Source: r.Source, Extrapolated: !wasRead(v)}
	switch {
	case in && r.Vague:
		f.Answer = Unknown
	case in:
		f.Answer = Yes
	case v.Compare(firstRead) < 0 && r.From.Compare(firstRead) <= 0:
		f.Answer = Unknown // the range begins where reading began, and says nothing of before
	}
	return f
}

// nearest is the range that a version is in or, if none, the next one, or the last.
func (e Entry) nearest(v Version) (r Range, in bool) {
	for _, r = range e.Ranges {
		if r.Contains(v) {
			return r, true
		}
		if v.Compare(r.From) < 0 {
			return r, false
		}
	}
	return r, false
}

// Needs names the first version of every line that brought a capability, for messages: "17.7.4 or 18.1.7". It is "" for
// what is not in the table.
func Needs(c Capability) string {
	var first []string
	for _, r := range table[c].Ranges {
		if !r.Vague {
			first = append(first, r.From.String())
		}
	}
	return strings.Join(first, " or ")
}

// everywhere says whether every version that was read has a capability.
func (e Entry) everywhere() bool {
	return slices.ContainsFunc(e.Ranges, func(r Range) bool { return r.Open() && r.From.Compare(firstRead) <= 0 })
}
