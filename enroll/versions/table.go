package versions

import "slices"

// entries is the table: a group a file.
var entries = slices.Concat(commandEntries, configEntries, typeEntries, healthEntries, clusterEntries, updaterEntries)

var table = index(entries)

func index(all []Entry) map[Capability]Entry {
	m := make(map[Capability]Entry, len(all))
	for _, e := range all {
		m[e.Capability] = e
	}
	return m
}

// All is the whole table, in the order of the documentation. The ranges are shared: don't change them.
func All() []Entry { return slices.Clone(entries) }

// What was read of each line, oldest first. Newer versions of a line are taken to be as its newest that was read.
var (
	firstRead = must("15.0.0")
	lastRead  = map[int]Version{15: must("15.4.24"), 16: must("16.4.7"), 17: must("17.7.16"), 18: must("18.9.0-rc.2")}
)

// wasRead says whether a version is among those whose source or changelog was read. Of 19 that is the master branch of
// August 2026 alone, so none of its releases is.
func wasRead(v Version) bool {
	last, ok := lastRead[v.major]
	return ok && v.Compare(firstRead) >= 0 && v.Compare(last) <= 0
}
