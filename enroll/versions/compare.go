package versions

import (
	"fmt"
	"regexp"
	"strings"
)

// Major returns the first number of a version; 0 when it is not known.
func Major(version string) int {
	n := 0
	for _, c := range strings.TrimPrefix(version, "v") {
		if c < '0' || c > '9' || n > 1000 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// VersionIn finds a version in a file name or URL: teleport-ent_17.2.1_amd64.deb.
var VersionIn = regexp.MustCompile(`\b[vV]?(\d{1,3}\.\d{1,4}\.\d{1,4}(?:-(?:alpha|beta|rc|dev)[.\w]*)?)`)

// TooOld says whether a tbot is older than 15.3.0, which brought the tpm join method.
func TooOld(version string) bool {
	var a, b int
	if n, _ := fmt.Sscanf(version, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < 15 || a == 15 && b < 3
}

// CheckVersion says whether a tbot fits a cluster: Teleport supports clients that are at most one major version older
// than the cluster, and none that are newer.
func CheckVersion(tbot, cluster string) error {
	t, c := Major(tbot), Major(cluster)
	switch {
	case t == 0 || c == 0:
		return nil
	case t > c:
		return fmt.Errorf("tbot %s is newer than the cluster (%s): that is not supported", tbot, cluster)
	case t < c-1:
		return fmt.Errorf("tbot %s is more than one major version older than the cluster (%s): that is not supported", tbot, cluster)
	}
	return nil
}
