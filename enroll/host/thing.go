package host

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"fleetctl/enroll/config"
)

// thingKind is a kind of thing that an enroll may make on a host.
type thingKind string

// Kinds of things.
const (
	thingUser   thingKind = "user"   // an account, by name
	thingGroup  thingKind = "group"  // a group, by name
	thingMember thingKind = "member" // tbot's user in a group, by the group's name
	thingDir    thingKind = "dir"    // a directory, by path
	thingFile   thingKind = "file"   // a program, by path
	thingDevice thingKind = "device" // the TPM's node, by path, with the mode and the owners that it had before
)

// Thing is something that was not there, or was otherwise, before an enroll, so that a removal takes it away or back.
// The zero Thing is none.
type Thing struct {
	kind         thingKind
	name         string // a name or an absolute path
	mode         uint32 // of a device: permission bits before
	owner, group string // of a device: before
}

// String is the form in which records keep a Thing: "user:teleport", "dir:/var/lib/teleport/bot",
// "device:0660:root:root:/dev/tpmrm0".
func (t Thing) String() string {
	switch t.kind {
	case "":
		return ""
	case thingDevice:
		return fmt.Sprintf("%s:%04o:%s:%s:%s", t.kind, t.mode, t.owner, t.group, t.name)
	}
	return string(t.kind) + ":" + t.name
}

// deviceThing is what follows "device:".
var deviceThing = regexp.MustCompile(`^(0[0-7]{3}):([^:]+):([^:]+):(/.*)$`)

// parseThing reads what String wrote. It refuses what no removal should act on: a path that is not clean and absolute,
// a name that is no account's. Every form that an earlier fleetctl wrote is read.
func parseThing(text string) (Thing, error) {
	kind, name, _ := strings.Cut(text, ":")
	t := Thing{kind: thingKind(kind), name: name}
	switch t.kind {
	case thingUser, thingGroup, thingMember:
		if config.ValidAccount(name) {
			return t, nil
		}
	case thingDir, thingFile:
		if cleanPath(name) {
			return t, nil
		}
	case thingDevice:
		m := deviceThing.FindStringSubmatch(name)
		if m == nil || !config.ValidAccount(m[2]) || !config.ValidAccount(m[3]) || !cleanPath(m[4]) {
			break
		}
		mode, err := strconv.ParseUint(m[1], 8, 32)
		return Thing{kind: thingDevice, name: m[4], mode: uint32(mode), owner: m[2], group: m[3]}, err
	}
	return Thing{}, fmt.Errorf("%q is nothing that an enroll makes", text)
}

// ParseMade reads what records keep of an enroll (store.Installed.Made). What cannot be read is left out: nothing is
// taken away for it.
func ParseMade(texts []string) []Thing {
	var made []Thing
	for _, text := range texts {
		if t, err := parseThing(text); err == nil {
			made = append(made, t)
		}
	}
	return made
}
