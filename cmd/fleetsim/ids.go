//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// ids are the user and group ids, of this machine, that a fleet's processes have: uid and gid are root's in the fleet's
// namespace, and size many follow. Root's own are never among them.
type ids struct{ uid, gid, size int }

// unusedIDs is where root takes ids from: nobody has them.
const unusedIDs = 1_900_000_000

// fleetIDs are the caller's, or other ones when that is root, in so far as there are other ones: in a container's user
// namespace there may be few, or none.
func fleetIDs() ids {
	if os.Getuid() != 0 {
		return ids{os.Getuid(), os.Getgid(), 1}
	}
	const nobody = 65534
	uids, gids := readIDMap("/proc/self/uid_map"), readIDMap("/proc/self/gid_map")
	for _, i := range []ids{{unusedIDs, unusedIDs, 65536}, {nobody, nobody, 1}} {
		if uids.holds(i.uid, i.size) && gids.holds(i.gid, i.size) {
			return i
		}
	}
	return ids{0, 0, 1} // of a namespace that has just one user, who is none outside
}

// idMap are ranges of ids, each the first one and how many: user_namespaces(7), "User and group ID mappings".
type idMap [][2]int

func readIDMap(path string) (m idMap) {
	text, _ := os.ReadFile(path) // without user namespaces in the kernel it isn't there, and every id is
	for line := range strings.Lines(string(text)) {
		var inside, outside, size int
		if n, _ := fmt.Sscan(line, &inside, &outside, &size); n == 3 {
			m = append(m, [2]int{inside, size})
		}
	}
	if len(text) == 0 {
		m = idMap{{0, 1<<32 - 1}}
	}
	return m
}

// holds says whether one range has all of these ids.
func (m idMap) holds(first, size int) bool {
	for _, r := range m {
		if r[0] <= first && first+size <= r[0]+r[1] {
			return true
		}
	}
	return false
}

// childAttr says how the keeper is started: in namespaces of its own, or at least without root's rights.
func childAttr(isolate bool) *syscall.SysProcAttr {
	i := fleetIDs()
	if !isolate {
		attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
		if i.uid != os.Getuid() {
			attr.Credential = &syscall.Credential{Uid: uint32(i.uid), Gid: uint32(i.gid)}
		}
		return attr
	}
	attr := &syscall.SysProcAttr{
		Setsid:      true,
		Pdeathsig:   syscall.SIGKILL,
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: i.uid, Size: i.size}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: i.gid, Size: i.size}},
	}
	if i.size > 1 {
		attr.GidMappingsEnableSetgroups = true
		attr.Credential = &syscall.Credential{Uid: 0, Gid: 0}
	}
	return attr
}
