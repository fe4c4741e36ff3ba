package host

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"fleetctl/enroll/config"
)

// ThingKind is a kind of thing that an enroll may make on a host.
type ThingKind string

// Kinds of things.
const (
	ThingUser   ThingKind = "user"   // an account, by name
	ThingGroup  ThingKind = "group"  // a group, by name
	ThingMember ThingKind = "member" // tbot's user in a group, by the group's name
	ThingDir    ThingKind = "dir"    // a directory, by path
	ThingFile   ThingKind = "file"   // a program, by path
	ThingDevice ThingKind = "device" // the TPM's node, by path, with the mode and the owners that it had before
)

// Thing is something that was not there, or was otherwise, before an enroll, so that a removal takes it away or back.
// The zero Thing is none.
type Thing struct {
	Kind         ThingKind
	Name         string // a name or an absolute path
	Mode         uint32 // of a device: permission bits before
	Owner, Group string // of a device: before
}

// String is the form in which records keep a Thing: "user:teleport", "dir:/var/lib/teleport/bot",
// "device:0660:root:root:/dev/tpmrm0".
func (t Thing) String() string {
	switch t.Kind {
	case "":
		return ""
	case ThingDevice:
		return fmt.Sprintf("%s:%04o:%s:%s:%s", t.Kind, t.Mode, t.Owner, t.Group, t.Name)
	}
	return string(t.Kind) + ":" + t.Name
}

// MarshalText is String.
func (t Thing) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// deviceThing is what follows "device:".
var deviceThing = regexp.MustCompile(`^(0[0-7]{3}):([^:]+):([^:]+):(/.*)$`)

// ParseThing reads what String wrote. It refuses what no removal should act on: a path that is not clean and absolute,
// a name that is no account's. Every form that an earlier fleetctl wrote is read.
func ParseThing(text string) (Thing, error) {
	kind, name, _ := strings.Cut(text, ":")
	t := Thing{Kind: ThingKind(kind), Name: name}
	switch t.Kind {
	case ThingUser, ThingGroup, ThingMember:
		if config.ValidAccount(name) {
			return t, nil
		}
	case ThingDir, ThingFile:
		if cleanPath(name) {
			return t, nil
		}
	case ThingDevice:
		m := deviceThing.FindStringSubmatch(name)
		if m == nil || !config.ValidAccount(m[2]) || !config.ValidAccount(m[3]) || !cleanPath(m[4]) {
			break
		}
		mode, err := strconv.ParseUint(m[1], 8, 32)
		return Thing{Kind: ThingDevice, Name: m[4], Mode: uint32(mode), Owner: m[2], Group: m[3]}, err
	}
	return Thing{}, fmt.Errorf("%q is nothing that an enroll makes", text)
}

// ParseMade reads what records keep of an enroll (store.Installed.Made). What cannot be read is left out: nothing is
// taken away for it.
func ParseMade(texts []string) []Thing {
	var made []Thing
	for _, text := range texts {
		if t, err := ParseThing(text); err == nil {
			made = append(made, t)
		}
	}
	return made
}
