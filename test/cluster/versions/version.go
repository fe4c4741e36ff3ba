// Package versions tells the stand-ins what each version of Teleport's programs does, from versions.yaml, which is what
// was read in Teleport's public source, changelogs and pull requests. It shares nothing with the product's own table, so
// that an error there shows in tests against the stand-ins.
package versions

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// V is one exact version: 17.2.8, 18.9.0-rc.2.
type V struct {
	numbers [3]int
	pre     string // "rc.2"; "" of a release
}

// Parse reads a version with or without a leading v. Build metadata ("+ent") is dropped.
func Parse(text string) (V, error) {
	core, _, _ := strings.Cut(strings.TrimPrefix(text, "v"), "+")
	core, pre, hasPre := strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 || hasPre && pre == "" {
		return V{}, fmt.Errorf("%q is no version", text)
	}
	v := V{pre: pre}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return V{}, fmt.Errorf("%q is no version", text)
		}
		v.numbers[i] = int(n)
	}
	return v, nil
}

// Must parses a version of the program text.
func Must(text string) V {
	v, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return v
}

// String is the version without a leading v.
func (v V) String() string {
	text := fmt.Sprintf("%d.%d.%d", v.numbers[0], v.numbers[1], v.numbers[2])
	if v.pre != "" {
		text += "-" + v.pre
	}
	return text
}

// Major is the version's first number.
func (v V) Major() int { return v.numbers[0] }

// Compare orders versions as Semantic Versioning 2.0.0, section 11, does: a pre-release is before its release.
func (v V) Compare(w V) int {
	for i := range v.numbers {
		if c := cmp.Compare(v.numbers[i], w.numbers[i]); c != 0 {
			return c
		}
	}
	switch {
	case v.pre == w.pre:
		return 0
	case v.pre == "":
		return 1
	case w.pre == "":
		return -1
	}
	return comparePre(strings.Split(v.pre, "."), strings.Split(w.pre, "."))
}

// comparePre compares the words of two pre-releases: numbers as numbers and before words, more words after fewer.
func comparePre(a, b []string) int {
	for i := range min(len(a), len(b)) {
		m, errA := strconv.Atoi(a[i])
		n, errB := strconv.Atoi(b[i])
		c := strings.Compare(a[i], b[i])
		switch {
		case errA == nil && errB == nil:
			c = cmp.Compare(m, n)
		case errA == nil:
			c = -1
		case errB == nil:
			c = 1
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// Since says whether a version has what came with several releases, each for its own line ("17.5.3", "18.0.1"): lines
// before the first lack it, lines after the last have it, and so does none in between that is not named.
func (v V) Since(firsts ...string) bool {
	for i, text := range firsts {
		first := Must(text)
		last := i == len(firsts)-1
		if v.Compare(first) >= 0 && (last || v.Major() == first.Major()) {
			return true
		}
	}
	return false
}
