package host

import (
	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/remote"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Step is one thing of a host that should be in a certain way. Either it is (it changes nothing, and Reason says why there
// is nothing to do), or its actions make it so, or nothing can (Steps.Problems).
type Step struct {
	Name   string
	Reason string
	Diff   string // of file contents, secrets masked
	Makes  Thing  // what a removal takes away again

	actions    []action        // only the last one replaces something: those before it prepare that
	undo       []action        // puts back what was there, when a later step or the verification fails
	armed      bool            // the last action has begun: there may be something to put back
	problem    *outcome.Reason // why the host can't be enrolled as things are
	installs   bool            // it brings another tbot: facts and plan are made anew after it
	configures bool            // it changes what tbot is or how it runs: program, configuration, unit
}

// Changes says whether the step has something to do.
func (s Step) Changes() bool { return len(s.actions) > 0 }

// Configures says whether the step changes what tbot is or how it runs, so that what was known of its joins is no longer
// about the tbot that comes out of it.
func (s Step) Configures() bool { return s.configures && s.Changes() }

// action is one thing that Apply does as root: a script or a file.
type action struct {
	script string
	file   *remote.File
	stdin  []byte // what the script reads
	push   *push  // a large file, before the script that uses it
	start  bool   // tbot starts: wait a random time first, so that a fleet doesn't join in one second
}

// Steps are a plan, in the order in which Apply runs them.
type Steps []Step

// Changes says whether a plan has anything to do.
func (s Steps) Changes() bool { return slices.ContainsFunc(s, Step.Changes) }

// Starts says whether a plan starts tbot, so that there is something to verify.
func (s Steps) Starts() bool {
	return slices.ContainsFunc(s, func(s Step) bool {
		return slices.ContainsFunc(s.actions, func(a action) bool { return a.start })
	})
}

// Installation is the place of the step that brings another tbot, after which facts and plan have to be made anew; -1 for
// none.
func (s Steps) Installation() int {
	return slices.IndexFunc(s, func(s Step) bool { return s.installs })
}

// Problems are all that stand in the way of a plan.
func (s Steps) Problems() []outcome.Reason {
	var out []outcome.Reason
	for _, step := range s {
		if step.problem != nil {
			out = append(out, *step.problem)
		}
	}
	return out
}

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
