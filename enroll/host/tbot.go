package host

import (
	"strings"

	"fleetctl/enroll/versions"
)

// TbotFacts say which tbot there is.
type TbotFacts struct {
	Path    string `json:"path,omitempty"`    // absolute; "" when there is none
	Version string `json:"version,omitempty"` // "17.2.1"; "" when it didn't say
	Link    string `json:"link,omitempty"`    // what Path resolves to, when it is a symbolic link
	SHA256  string `json:"sha256,omitempty"`  // of the file, where an installation asks for it
}

// tbotVersion finds the version in what "tbot version" prints: "Teleport v17.2.1 git:v17.2.1-0-g… go1.23.4".
func tbotVersion(out string) string {
	for _, w := range strings.Fields(out) {
		w = strings.TrimPrefix(strings.TrimRight(w, ",;"), "v")
		if versions.Major(w) > 0 && strings.Count(w, ".") >= 2 && len(w) < 40 &&
			!strings.ContainsFunc(w, func(r rune) bool { return !strings.ContainsRune("0123456789.-+abcdefghijklmnopqrstuvwxyz", r) }) {
			return w
		}
	}
	return ""
}
