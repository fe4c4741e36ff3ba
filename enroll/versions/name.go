package versions

import (
	"regexp"
	"strings"
)

// inName is a version in the name of a file: a release's or a package's.
var inName = regexp.MustCompile(`\b[vV]?(\d{1,4}\.\d{1,4}\.\d{1,4}(?:-(?:alpha|beta|rc|dev)(?:\.\d+)*)?)`)

// FromName finds the version in a file's name or URL as Teleport's releases have them: "teleport-ent_17.2.1_amd64.deb",
// "teleport-ent-17.2.1-1.x86_64.rpm", "teleport-v18.0.0-rc.1-linux-amd64-bin.tar.gz". The zero Version comes back if there
// is none.
func FromName(name string) Version {
	m := inName.FindStringSubmatch(strings.NewReplacer("_", " ", "-v", " v").Replace(name))
	if m == nil {
		return Version{}
	}
	v, _ := Parse(m[1])
	return v
}
