// Package version says which Teleport the stand-ins claim to be.
package version

import (
	"fmt"
	"runtime"
)

// Version is set with -ldflags "-X fleetctl/test/cluster/version.Version=…" to play another release.
var Version = "17.2.1"

// Line is what `tbot version` and `tctl version` print.
func Line() string {
	return fmt.Sprintf("Teleport v%s git:v%s-0-g0000000 %s", Version, Version, runtime.Version())
}
