package versions

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// Default is the version that the stand-ins play when nothing says another.
const Default = "18.8.0"

// How a stand-in is told its version: by its environment, or else by what Stamp wrote behind the program, so that a
// program which is copied to a host keeps its version.
const (
	EnvVersion = "STANDIN_VERSION" // "17.2.7"
	EnvEdition = "STANDIN_EDITION" // "enterprise", or "oss", which is the default
)

// stampMark stands before the version behind a stamped program. It is put together here, so that the program's own text
// does not have it.
var stampMark = []byte(strings.Join([]string{"\n--", "stand-in version", "--\n"}, ""))

// maxStamp bounds what is read of a program's end.
const maxStamp = 256

// Program is which program of Teleport's a stand-in plays.
type Program struct {
	V
	Enterprise bool
	Stamped    bool // somebody said which version; else it is the default one
}

// Running says which version this process plays.
func Running() (Program, error) {
	text, edition := os.Getenv(EnvVersion), os.Getenv(EnvEdition)
	if text == "" {
		var err error
		if text, edition, err = readStamp("/proc/self/exe"); err != nil {
			return Program{}, err
		}
	}
	stamped := text != ""
	if !stamped {
		text = Default
	}
	v, err := Parse(text)
	if err != nil {
		return Program{}, fmt.Errorf("the version to play: %w", err)
	}
	if edition != "" && edition != "oss" && edition != "enterprise" {
		return Program{}, fmt.Errorf("the edition to play is oss or enterprise, not %q", edition)
	}
	return Program{V: v, Enterprise: edition == "enterprise", Stamped: stamped}, nil
}

// Line is what "version" prints (samples tbot-version-oss.txt and tbot-version-ent.txt).
func (p Program) Line() string {
	edition := ""
	if p.Enterprise {
		edition = "Enterprise "
	}
	return fmt.Sprintf("Teleport %sv%s git:v%s-0-g0123456 %s", edition, p.V, p.V, runtime.Version())
}

// Stamp copies a stand-in and has the copy play a version; edition is "oss" or "enterprise".
func Stamp(from, to, version, edition string) error {
	if _, err := Parse(version); err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if i := bytes.LastIndex(data, stampMark); i >= 0 {
		data = data[:i]
	}
	data = append(append(data, stampMark...), version+" "+edition+"\n"...)
	if err := os.WriteFile(to, data, 0o755); err != nil {
		return err
	}
	return os.Chmod(to, 0o755)
}

// readStamp returns the version and edition behind a program; "" for none.
func readStamp(path string) (version, edition string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	end := make([]byte, min(maxStamp, info.Size()))
	if _, err := f.ReadAt(end, info.Size()-int64(len(end))); err != nil && err != io.EOF {
		return "", "", err
	}
	if _, stamp, ok := bytes.Cut(end, stampMark); ok {
		version, edition, _ = strings.Cut(strings.TrimSpace(string(stamp)), " ")
		return version, edition, nil
	}
	return "", "", nil
}
