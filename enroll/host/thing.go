package host

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fleetctl/enroll/config"
	"fleetctl/enroll/store"
)

// thingKind is a kind of thing that an enroll may make on a host, or find there.
type thingKind string

// Kinds of things that an enroll makes, for a removal to take away.
const (
	thingUser   thingKind = "user"   // an account, by name
	thingGroup  thingKind = "group"  // a group, by name
	thingMember thingKind = "member" // a user in a group, by the group's name; the user is tbot's where the records don't say
	thingDir    thingKind = "dir"    // a directory that was made for tbot, by path: all that is in it is tbot's
	thingAbove  thingKind = "above"  // a directory that was made on the way to a file, by path: it goes once it is empty
	thingFile   thingKind = "file"   // a program, by path
	thingConfig thingKind = "config" // a tbot.yaml, by path
	thingNew    thingKind = "new"    // a file where there was none, by path
)

// Kinds of things that were there before, for a removal to put back, or to leave.
const (
	thingDevice  thingKind = "device"  // the TPM's node, by path, with the mode and the owners that it had
	thingOwner   thingKind = "owner"   // a directory, by path, with the mode and the owners that it had
	thingStorage thingKind = "storage" // tbot's storage, by path, whether it was made or not
	thingBase    thingKind = "base"    // the directory that was there above those that were made, by path: it stays
	thingOutput  thingKind = "output"  // a directory that services write to and that was there, by path
	thingForeign thingKind = "foreign" // a directory, by path, that had somebody else's content
	thingUnit    thingKind = "unit"    // tbot.service of somebody else, by its file, and whether it was enabled and active
)

// Thing is something that was not there, or was otherwise, before an enroll, so that a removal takes it away or back.
// The zero Thing is none.
type Thing struct {
	kind         thingKind
	name         string // a name or an absolute path
	mode         uint32 // of a device or a directory: permission bits before
	owner, group string // before; of a member: owner is the user
	enabled      string // of a unit: as systemctl is-enabled says it
	active       bool   // of a unit
}

// back gives a directory or a device the owner and the mode that it had.
func (t Thing) back() string { return ownScript(t.name, t.owner, t.group, t.mode) }

// String is the form in which records keep a Thing: "user:teleport", "dir:/var/lib/teleport/bot",
// "device:0660:root:root:/dev/tpmrm0", "unit:enabled:active:/usr/lib/systemd/system/tbot.service".
func (t Thing) String() string {
	switch t.kind {
	case "":
		return ""
	case thingDevice, thingOwner:
		return fmt.Sprintf("%s:%04o:%s:%s:%s", t.kind, t.mode, t.owner, t.group, t.name)
	case thingMember:
		if t.owner != "" {
			return fmt.Sprintf("%s:%s:%s", t.kind, t.name, t.owner)
		}
	case thingUnit:
		return fmt.Sprintf("%s:%s:%s:%s", t.kind, t.enabled, map[bool]string{true: "active", false: "inactive"}[t.active], t.name)
	}
	return string(t.kind) + ":" + t.name
}

// What follows the kind of a Thing with a mode, and that of a unit.
var (
	ownedThing = regexp.MustCompile(`^([0-7]{4}):([^:]+):([^:]+):(/.*)$`)
	unitThing  = regexp.MustCompile(`^([a-z-]*):(active|inactive):(/.*)$`)
)

// parseThing reads what String wrote. It refuses what no removal should act on: a path that is not clean and absolute,
// a name that is no account's. Every form that an earlier fleetctl wrote is read.
func parseThing(text string) (Thing, error) {
	kind, name, _ := strings.Cut(text, ":")
	t := Thing{kind: thingKind(kind), name: name}
	ok := false
	switch t.kind {
	case thingUser, thingGroup:
		ok = config.ValidAccount(name)
	case thingMember:
		t.name, t.owner, _ = strings.Cut(name, ":")
		ok = config.ValidAccount(t.name) && (t.owner == "" || config.ValidAccount(t.owner))
	case thingDir, thingAbove, thingFile, thingConfig, thingNew, thingStorage, thingBase, thingOutput, thingForeign:
		ok = cleanPath(name)
	case thingDevice, thingOwner:
		t, ok = parseOwned(t)
	case thingUnit:
		if m := unitThing.FindStringSubmatch(name); m != nil {
			t.enabled, t.active, t.name = m[1], m[2] == "active", m[3]
			ok = cleanPath(t.name)
		}
	}
	if !ok {
		return Thing{}, fmt.Errorf("%q is nothing that an enroll makes", text)
	}
	return t, nil
}

// parseOwned reads "MODE:OWNER:GROUP:PATH".
func parseOwned(t Thing) (Thing, bool) {
	m := ownedThing.FindStringSubmatch(t.name)
	if m == nil || !validOwner(m[2]) || !validOwner(m[3]) || !cleanPath(m[4]) {
		return t, false
	}
	mode, err := strconv.ParseUint(m[1], 8, 32)
	t.name, t.mode, t.owner, t.group = m[4], uint32(mode), m[2], m[3]
	return t, err == nil
}

// validOwner is an account, or the number of one that has no name (any more).
func validOwner(name string) bool {
	_, err := strconv.ParseUint(name, 10, 32)
	return err == nil || config.ValidAccount(name)
}

// ParseMade reads what records keep of an enroll (store.Installed.Made). What cannot be read is left out: nothing is
// taken away for it.
func ParseMade(texts []string) []Thing {
	var made []Thing
	for _, text := range texts {
		if t, err := parseThing(text); err == nil && !slices.Contains(made, t) {
			made = append(made, t)
		}
	}
	return made
}

// MadeBy is all that records know of what enrolls made on a host, those of an older fleetctl included; nil: nothing.
func MadeBy(in *store.Installed) []Thing {
	if in == nil {
		return nil
	}
	var made []Thing
	for _, t := range ParseMade(in.Made) {
		if t.kind == thingMember && t.owner == "" && config.ValidAccount(in.User) {
			t.owner = in.User
		}
		if !slices.Contains(made, t) {
			made = append(made, t)
		}
	}
	for _, t := range []Thing{{kind: thingConfig, name: in.Config}, {kind: thingStorage, name: in.Storage}} {
		if cleanPath(t.name) && !slices.Contains(made, t) {
			made = append(made, t)
		}
	}
	return made
}

// Goes names what a removal takes, for people.
func Goes(made []Thing) []string {
	var all []string
	for _, t := range []struct {
		kind thingKind
		word string
	}{{thingConfig, "configuration"}, {thingStorage, "storage"}} {
		for _, m := range ofKind(made, t.kind) {
			all = append(all, t.word+" "+m.name)
		}
	}
	for _, m := range made {
		switch m.kind {
		case thingUser, thingGroup, thingMember, thingDir, thingFile, thingDevice:
			all = append(all, string(m.kind)+" "+m.name)
		}
	}
	return all
}

// Union is what either of two lists has, each once.
func Union(a, b []Thing) []Thing {
	all := slices.Clone(a)
	for _, t := range b {
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}

// ofKind are the things of a kind.
func ofKind(made []Thing, kind thingKind) []Thing {
	var some []Thing
	for _, t := range made {
		if t.kind == kind {
			some = append(some, t)
		}
	}
	return some
}

// find finds a thing by kind and name.
func find(made []Thing, kind thingKind, name string) (Thing, bool) {
	i := slices.IndexFunc(made, func(t Thing) bool { return t.kind == kind && t.name == name })
	if i < 0 {
		return Thing{}, false
	}
	return made[i], true
}
