package setup

import (
	"net"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// profile is what is read of a profile of tsh (api/profile, profile.go@00d0ff93).
type profile struct {
	WebProxyAddr string `yaml:"web_proxy_addr"` // host:port
}

// maxProfile bounds a profile, in bytes; one has less than a KB.
const maxProfile = 64 << 10

// currentProfile reads the profile that tsh is using: the file "current-profile" has the name of it, which is the proxy's.
func currentProfile(dir string) (p profile, file string, ok bool) {
	if dir == "" {
		return p, "", false
	}
	name := strings.TrimSpace(string(readSmall(filepath.Join(dir, "current-profile"))))
	if name == "" || name != filepath.Base(name) {
		return p, "", false
	}
	file = filepath.Join(dir, name+".yaml")
	if yaml.Unmarshal(readSmall(file), &p) != nil {
		return p, "", false
	}
	host, port, err := net.SplitHostPort(p.WebProxyAddr)
	return p, file, err == nil && host != "" && port != ""
}

// readSmall reads a file; nil when it can't be read, or is too large to be what is looked for.
func readSmall(path string) []byte {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxProfile {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return data
}

// TshHome is the directory of tsh's profiles: TELEPORT_HOME, else ~/.tsh. lookup is os.LookupEnv.
func TshHome(lookup func(string) (string, bool)) string {
	if dir, ok := lookup("TELEPORT_HOME"); ok && dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".tsh")
}
