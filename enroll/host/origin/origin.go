// Package origin prepares where a tbot comes from: files of the controller, mirrors, the cluster's installer. What is wrong with
// one is found before any host is contacted; what has to be downloaded for hosts that cannot is downloaded once.
package origin

import (
	"crypto/sha256"
	"encoding/hex"
	"fleetctl/enroll/versions"
)

// Where tbot comes from: the values of tbot.install.from.
const (
	none   = "none"
	File   = "file"
	URL    = "url"
	Script = "script"
)

// The kinds of things that tbot comes in.
const (
	KindBinary  = "binary"
	KindTarball = "tarball" // .tar.gz, .tgz: a Teleport release
	KindDeb     = "deb"
	KindRPM     = "rpm"
)

// Installer is where tbot comes from, ready for use: files read, versions known. A nil Installer means that tbot must
// be there.
type Installer struct {
	From    string
	Version versions.Version    // of Teleport; the zero Version for a bare binary of which nothing says it
	ByArch  map[string]*Release // GOARCH; of file and url
	Proxy   string              // for downloads on the host
	Script  []byte              // of script: the cluster's installer
	Edition string              // of script: oss, enterprise or cloud

	Downloads *Downloads // for hosts that can't download themselves
}

// Release is one tbot for one architecture.
type Release struct {
	Kind   string
	SHA256 string // lower-case hex, of what local or url holds
	Size   int64  // of local
	Local  string // a file of the controller that is pushed; a tarball's tbot has been taken out of it
	URL    string // what the host downloads
}

// setVersion takes the version in a name, unless it is known already, and says whether it is.
func (o *Installer) setVersion(name string) bool {
	if o.Version.IsZero() {
		o.Version = versions.FromName(name)
	}
	return !o.Version.IsZero()
}

// SHA256 is the checksum of bytes in lower-case hex.
func SHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
