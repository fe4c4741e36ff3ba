// Package versions knows what Teleport does by exact version, as data: one table from capability to ranges of versions,
// each with its source and how sure it is. It owns versions and their order, and every question that depends on one, so
// that nobody else compares numbers. It refuses to know hosts, files and what fleetctl does with an answer.
//
// Where the answers are from: Teleport's public source, its changelogs and pull requests. docs/compatibility.md is the
// table for people; a test writes it.
package versions

import (
	"cmp"
	"strconv"
	"strings"
)

// Version is one exact version of Teleport. The zero Version is one that nobody knows.
type Version struct {
	major, minor, patch int
	pre                 string // "rc.2"; "" for a release
	text                string // as it was written, without the leading v
}

// maxText is how long a version may be; what tbot prints comes from a host.
const maxText = 40

// Parse reads a version as Teleport writes it: "17.2.1", "v17.2.1", "18.9.0-rc.2", "19.0.0-dev", "17.2.1+ent", as in
// Semantic Versioning 2.0.0. All three numbers have to be there. If it is none, the zero Version and false come back.
func Parse(s string) (Version, bool) {
	text := strings.TrimPrefix(s, "v")
	if len(text) > maxText {
		return Version{}, false
	}
	core, build, hasBuild := strings.Cut(text, "+")
	core, pre, hasPre := strings.Cut(core, "-")
	if hasBuild && !identifiers(build, false) || hasPre && !identifiers(pre, true) {
		return Version{}, false
	}
	v := Version{pre: pre, text: text}
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return Version{}, false
	}
	for i, to := range []*int{&v.major, &v.minor, &v.patch} {
		if !number(parts[i]) || len(parts[i]) > 4 {
			return Version{}, false
		}
		*to, _ = strconv.Atoi(parts[i])
	}
	return v, true
}

// FromOutput finds the version in what "tbot version" prints: "Teleport v17.2.1 git:v17.2.1-0-g… go1.23.4", or
// "Teleport Enterprise v18.4.0 git:…" of an enterprise build (tool/tbot, onVersion). A line of that form goes before
// whatever else is printed. The zero Version comes back if there is none.
func FromOutput(out string) Version {
	var first Version
	for line := range strings.Lines(out) {
		for _, w := range strings.Fields(line) {
			v, ok := Parse(strings.TrimRight(w, ",;"))
			if ok && strings.HasPrefix(line, "Teleport ") {
				return v
			}
			if ok && first.IsZero() {
				first = v
			}
		}
	}
	return first
}

// String is the version as it was written, without the leading v; "" for the zero Version.
func (v Version) String() string { return v.text }

// IsZero says whether nobody knows the version.
func (v Version) IsZero() bool { return v.text == "" }

// isPre says whether the version is a pre-release: alpha, beta, rc or a development build.
func (v Version) isPre() bool { return v.pre != "" }

// isDev says whether it is a development build: "19.0.0-dev", "18.0.0-dev.name.1". Such a number says which release the
// build may become, and not which commit it was made of.
func (v Version) isDev() bool {
	first, _, _ := strings.Cut(v.pre, ".")
	return strings.HasPrefix(first, "dev")
}

// release is the release that a pre-release is meant to become; of a release, itself. Build metadata is dropped.
func (v Version) release() Version {
	if v.IsZero() {
		return v
	}
	return release(v.major, v.minor, v.patch)
}

func release(major, minor, patch int) Version {
	text := strconv.Itoa(major) + "." + strconv.Itoa(minor) + "." + strconv.Itoa(patch)
	return Version{major: major, minor: minor, patch: patch, text: text}
}

// Compare is -1, 0 or 1 as v is before, the same as or after w, by Semantic Versioning 2.0.0, section 11: a pre-release
// is before its release, and build metadata doesn't count. The zero Version is before all others.
func (v Version) Compare(w Version) int {
	if v.IsZero() || w.IsZero() {
		return cmp.Compare(min(len(v.text), 1), min(len(w.text), 1))
	}
	return cmp.Or(cmp.Compare(v.major, w.major), cmp.Compare(v.minor, w.minor), cmp.Compare(v.patch, w.patch),
		comparePre(v.pre, w.pre))
}

// Same says whether both are known and the same version.
func (v Version) Same(w Version) bool { return !v.IsZero() && !w.IsZero() && v.Compare(w) == 0 }

// comparePre compares the pre-release parts of two versions with the same numbers.
func comparePre(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(b), len(a)) // a release has none and is later
	}
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		if c := compareIdentifier(as[i], bs[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

// compareIdentifier compares numbers as numbers, words as words; a number is before a word.
func compareIdentifier(a, b string) int {
	switch an, bn := number(a), number(b); {
	case an && bn:
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	case an:
		return -1
	case bn:
		return 1
	}
	return strings.Compare(a, b)
}

// number says whether a text is a number without leading zeros.
func number(s string) bool {
	return digits(s) && (s == "0" || s[0] != '0')
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// identifiers says whether a text is a pre-release or build part: words of letters, digits and hyphens between dots.
// strict refuses numbers with leading zeros, as pre-releases do.
func identifiers(s string, strict bool) bool {
	for w := range strings.SplitSeq(s, ".") {
		if w == "" || strings.ContainsFunc(w, notIdentifier) || strict && digits(w) && !number(w) {
			return false
		}
	}
	return true
}

func notIdentifier(r rune) bool {
	return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}
