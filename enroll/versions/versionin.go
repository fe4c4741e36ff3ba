package versions

import "regexp"

// VersionIn finds a version in a text: what is left of comparing versions as texts. It goes when enroll/tctl takes Parse.
var VersionIn = regexp.MustCompile(`\b[vV]?(\d{1,3}\.\d{1,4}\.\d{1,4}(?:-(?:alpha|beta|rc|dev)[.\w]*)?)`)
