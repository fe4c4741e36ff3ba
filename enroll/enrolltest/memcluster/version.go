package memcluster

import (
	"slices"
	"strconv"
	"strings"
)

// VersionLine is what "tbot version" and "tctl version" print.
func VersionLine(v string) string {
	return "Teleport Enterprise v" + v + " git:v" + v + "-0-g0123456 go1.24.10"
}

// Since says whether a version is at least one of the given ones in its own major, or of a later major than all.
func Since(version string, firsts ...string) bool {
	v := Numbers(version)
	last := 0
	for _, first := range firsts {
		f := Numbers(first)
		last = max(last, f[0])
		if v[0] == f[0] {
			return slices.Compare(v[:], f[:]) >= 0
		}
	}
	return v[0] > last
}

// Numbers are the three numbers of a version; those of a pre-release are its release's.
func Numbers(version string) (out [3]int) {
	version, _, _ = strings.Cut(version, "-")
	for i, part := range strings.SplitN(version, ".", 3) {
		out[i], _ = strconv.Atoi(part) // a part that is none counts as 0
	}
	return out
}

// Red begins an error, whether or not stderr is a terminal.
const Red = "\x1b[31mERROR: \x1b[0m"
