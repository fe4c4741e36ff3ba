package versions

import "fmt"

// windowSource is where the window of supported versions is from.
const windowSource = "CHANGELOG of 16.0.0; Teleport's documentation on component compatibility"

// Compatible says whether a tbot fits a cluster: Teleport supports clients that are at most one major version older than
// the cluster, and none whose major version is newer. Where either is not known there is no error.
func Compatible(tbot, cluster Version) error {
	switch {
	case tbot.IsZero() || cluster.IsZero():
		return nil
	case tbot.major > cluster.major:
		return fmt.Errorf("tbot %s is newer than the cluster (%s): that is not supported", tbot, cluster)
	case tbot.major < cluster.major-1:
		return fmt.Errorf("tbot %s is more than one major version older than the cluster (%s): that is not supported", tbot, cluster)
	}
	return nil
}

// Covered says whether releases of the version's line were read: what is said of later lines is extrapolated.
func Covered(v Version) bool {
	_, ok := lastRead[v.major]
	return ok
}
