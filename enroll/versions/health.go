package versions

// ReadyzMeaning is what tbot's /readyz says in one version.
type ReadyzMeaning int

// Meanings of /readyz.
const (
	// ReadyzUnknown: the version is not known, and nothing may be concluded.
	ReadyzUnknown ReadyzMeaning = iota
	// ReadyzListens: 200 as soon as it listens. It listens only after this process has joined, and a failed join ends
	// tbot, so any answer means joined (up to 17.5.2, and 18.0.0; lib/tbot/tbot.go@000ebb98 of 16.4.7, else inferred).
	ReadyzListens
	// ReadyzDegraded: 200 as soon as it listens, also when the cluster refused a re-join and tbot goes on with an old
	// identity: a 200 proves nothing (17.5.3 and 18.0.1).
	ReadyzDegraded
	// ReadyzHealth: 200 if every service is healthy, else 503 (#56306, #56719).
	ReadyzHealth
	// ReadyzHealthSticky: as ReadyzHealth, but a 503 may be left from a renewal that failed at the start and has
	// succeeded since (#65258): it proves no trouble.
	ReadyzHealthSticky
)

// Readyz is what /readyz says in a version. A development build counts as the release that it is to become.
func Readyz(v Version) ReadyzMeaning {
	v = planned(v)
	switch Has(ReadyzMeansHealthy, v) {
	case No:
		if Possibly(ReadyzMisleads, v) {
			return ReadyzDegraded
		}
		return ReadyzListens
	case Yes:
		if Possibly(ReadyzSticky, v) {
			return ReadyzHealthSticky
		}
		return ReadyzHealth
	}
	return ReadyzUnknown
}

// JoinedBy200 says whether a 200 proves that this process has joined.
func (m ReadyzMeaning) JoinedBy200() bool {
	return m == ReadyzListens || m == ReadyzHealth || m == ReadyzHealthSticky
}

// TroubleBy503 says whether a 503 means that something is wrong now, or not ready yet.
func (m ReadyzMeaning) TroubleBy503() bool { return m == ReadyzHealth }

// String names the meaning in a few words.
func (m ReadyzMeaning) String() string {
	return [...]string{
		"unknown", "listens after the join", "listens, perhaps with an old identity", "every service is healthy",
		"every service is healthy, and 503 may be out of date",
	}[m]
}
