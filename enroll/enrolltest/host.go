package enrolltest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/remote/remotetest"
)

// Joiner is the cluster as tbot sees it: *Cluster is one.
type Joiner interface {
	// Join lets a TPM join with a token; cert is its EK certificate or nil, tbot the version of the client. The error is
	// what tbot prints, a line a level.
	Join(j memcluster.JoinRequest) error
}

// Host is a Linux host in memory. What it is like is its State; scripts change it as commands would.
type Host struct {
	Name    string
	TPM     *softtpm.TPM // nil: what opens the device finds nothing
	Cluster Joiner       // nil: a tbot that starts fails the test

	// Before is told of everything that the host is asked, before it happens; After, when it has happened and before
	// its answer is sent. ErrDrop ends the connection, ErrHang waits for its end; any other error of Before fails what
	// was asked, with the error's text on stderr. nil: nothing goes wrong. Like all fields they are set before use; they
	// may call With.
	Before func(Event) error
	After  func(Event) error

	Fault func() remotetest.Fault                     // of each connection; nil: none
	Wrap  func(remotetest.Handler) remotetest.Handler // what lies between the connection and the host; nil: nothing

	t  testing.TB
	mu sync.Mutex
	s  State
	n  int
}

// Event is one thing that a host was asked.
type Event struct {
	Host string
	N    int    // which one it is of this host, from 1
	Kind string // script, file or payload
	What string // of scripts: probe, facts, verify, tpm or action; the path of a file, the name of a payload
	Text string // of a script
	Root bool
}

// State is all that a host is. Maps are never nil.
type State struct {
	Arch     string // as uname -m says it
	OS       OSRelease
	Systemd  int    // version; 0: another init
	Udev     bool   // udevd runs, and knows the TPM where Sysfs is set
	SELinux  string // what getenforce says; "": there is none
	AppArmor bool
	Tools    []string      // which of bash, curl, wget, dpkg, rpm there are
	Clock    time.Duration // how far its clock is ahead
	Device   string        // the TPM's device; its node is in Files
	Sysfs    bool          // the kernel knows a TPM
	TPM12    bool          // and it is a 1.2
	NoACL    bool          // the storage's file system has none
	NoExec   bool          // every directory is mounted noexec
	Full     bool          // no space is left on the disk
	ReadOnly []string      // directories that are mounted for reading alone
	Down     bool          // sshd closes each connection at once
	Silent   bool          // sshd accepts connections and says nothing
	Sudo     remotetest.Sudo
	Users    map[string]*User
	Groups   map[string]int // group ids by name
	Files    map[string]*File
	Service  Service
	Others   []OtherTbot                                        // that use the storage or the configuration of tbot.service
	Mounts   []string                                           // directories on which something is mounted
	Download func(url string) ([]byte, error)                   // what curl and wget get; nil: they may not be called
	Install  func(s *State, script []byte, args []string) error // what the cluster's installer does; nil: it may not run
}

// OSRelease is of /etc/os-release.
type OSRelease struct{ ID, Like, Version string }

// User is an account.
type User struct {
	UID     int
	Group   string   // its own
	Groups  []string // besides
	Comment string
	Home    string
	Shell   string
}

// OtherTbot is a tbot that systemd's tbot.service did not start.
type OtherTbot struct {
	PID           int
	Unit, Command string
}

// Kinds of File.
const (
	Regular = "file"
	Dir     = "dir"
	Link    = "link"
	Char    = "char"
	Socket  = "socket"
)

// File is one file. The zero Kind is Regular.
type File struct {
	Kind    string
	Mode    uint32 // permission bits
	Owner   string
	Group   string
	Content []byte
	Target  string // of a link
}

// NewHost makes a Debian host with systemd, udev, a TPM 2.0 that root alone may open and the given tbot ("" for none),
// to which root and admin may log in, admin with sudo and without a password.
func NewHost(t testing.TB, name, tbot string) *Host {
	h := &Host{Name: name, t: t, s: State{
		Arch: "x86_64", OS: OSRelease{ID: "debian", Version: "12"}, Systemd: 252, Udev: true, Sysfs: true,
		Device: "/dev/tpmrm0", Tools: []string{"bash", "curl", "dpkg"},
		Users: map[string]*User{
			"root":  {UID: 0, Group: "root", Comment: "root", Home: "/root", Shell: "/bin/bash"},
			"admin": {UID: 1000, Group: "admin", Home: "/home/admin", Shell: "/bin/bash"},
		},
		Groups: map[string]int{"root": 0, "admin": 1000}, Files: map[string]*File{},
	}}
	for _, dir := range strings.Fields(`/ /bin /dev /etc /etc/systemd /etc/systemd/system /etc/udev /etc/udev/rules.d /home /opt
		/root /run /run/systemd /run/systemd/system /tmp /usr /usr/lib /usr/lib/systemd /usr/lib/systemd/system /usr/local
		/usr/local/bin /usr/sbin /var /var/lib /var/tmp`) {
		h.s.Files[dir] = &File{Kind: Dir, Mode: 0o755, Owner: "root", Group: "root"}
	}
	h.s.Files["/home/admin"] = &File{Kind: Dir, Mode: 0o750, Owner: "admin", Group: "admin"}
	h.s.Files["/tmp"].Mode, h.s.Files["/var/tmp"].Mode = 0o1777, 0o1777
	h.s.Files["/usr/sbin/nologin"] = &File{Mode: 0o755, Owner: "root", Group: "root"}
	h.s.Files[h.s.Device] = &File{Kind: Char, Mode: 0o600, Owner: "root", Group: "root"}
	if tbot != "" {
		h.s.Files["/usr/local/bin/tbot"] = &File{Mode: 0o755, Owner: "root", Group: "root", Content: Tbot(tbot)}
	}
	for _, f := range h.s.Files {
		if f.Kind == "" {
			f.Kind = Regular
		}
	}
	return h
}

// With lets a test read or change what the host is, while nothing runs on it.
func (h *Host) With(f func(*State)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.s)
}

// Tree is everything that scripts can change, a line a thing, in order: what a removal must put back.
func (h *Host) Tree() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(h.s.Files)) {
		f := h.s.Files[path]
		fmt.Fprintf(&b, "%s %s %04o %s:%s %q\n", path, f.Kind, f.Mode, f.Owner, f.Group, f.Content)
	}
	for _, name := range slices.Sorted(maps.Keys(h.s.Users)) {
		u := h.s.Users[name]
		fmt.Fprintf(&b, "user %s %d %s %q %q\n", name, u.UID, u.Group, slices.Sorted(slices.Values(u.Groups)), u.Comment)
	}
	for _, name := range slices.Sorted(maps.Keys(h.s.Groups)) {
		fmt.Fprintf(&b, "group %s %d\n", name, h.s.Groups[name])
	}
	fmt.Fprintf(&b, "service enabled=%v active=%s\n", h.s.Service.Enabled, h.s.Service.active())
	return b.String()
}

// Events counts what the host was asked so far.
func (h *Host) Events() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

func (h *Host) now() time.Time { return time.Now().Add(h.s.Clock) }

func (h *Host) failf(format string, args ...any) { h.t.Errorf(h.Name+": "+format, args...) }

// groupsOf are all groups of a user, its own first.
func (s *State) groupsOf(name string) []string {
	u := s.Users[name]
	if u == nil {
		return nil
	}
	return append([]string{u.Group}, u.Groups...)
}

// tpmOpens says what opening the TPM's device as a user says, with groups besides its own: ok, denied, failed.
func (h *Host) tpmOpens(path, user string, more ...string) string {
	f := h.s.Files[path]
	switch {
	case f == nil:
		return "failed"
	case !h.s.may(user, f, 0o6, more...):
		return "denied"
	case f.Kind == Char && path == h.s.Device && h.TPM == nil:
		return "failed"
	}
	return "ok"
}
