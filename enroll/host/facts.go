package host

import (
	"time"
)

// Facts are what a plan needs to know of a host. All of it is the host's word. What is gathered of a thing stands with
// the thing.
type Facts struct {
	Systemd int           // the version that is running; 0: another init
	Now     int64         // the host's clock, Unix seconds
	Skew    time.Duration // of the host's clock to the controller's, when the facts came in

	uid      int
	arch     string   // GOARCH; "" when it is none that we know
	udev     bool     // udevd runs
	selinux  string   // "Enforcing", "Permissive"…
	appArmor bool     // it is on
	tools    []string // which of systemScript's tools the host has

	tbot    tbotFacts
	user    *userFacts // tbot.user; nil when there is none
	group   bool       // tbot.group exists
	access  bool       // accessGroup exists
	nss     bool       // a directory service has accessGroup, and no file of this host
	rules   string     // a file of udev rules that gives the TPM to the access group
	device  deviceFacts
	storage storageFacts
	dirs    map[int]dirFacts // output directories, by their place in the list
	files   fileSet
	service serviceFacts
	ready   readyz
	pending bool // a restart is due: an earlier run didn't get that far

	ways    map[int]wayFacts  // by their place in Desired.ways
	ulimit  int               // how large a file may be, in blocks, where that is little; -1 for enough
	last    string            // an earlier tbot.user, by our unit; "" for none
	holder  string            // whoever else listens at tbot.diag_addr: "PID NAME"; "" for nobody
	made    map[Thing]*string // how the things of the records are
	above   map[string]string // of paths whose directory isn't there, the nearest one that is
	others  []otherTbot
	dropIns map[int]dropIn
}

// factsOf is how the facts of one thing are gathered: a piece of the script, and what takes each of its values.
type factsOf struct {
	vars   func(Desired) []shellVar // what the script asks for; may be nil
	script string                   // it prints "key=value" lines
	calls  func(Desired) []string   // commands after all pieces, for things of which there are several; may be nil
	set    map[string]func(*Facts, string) error
	each   map[string]func(*factsParser, int, string) error // "key.N=value": of the N-th of several
	long   string                                           // the key whose values may be long
}

// factsParser is what reading the values of one host needs to know.
type factsParser struct {
	facts *Facts
	files []string // the managed files, in the order in which they were asked for
	dirs  int      // how many output directories were asked for

	things []Thing  // of the records, in the order in which they were asked for
	paths  []string // likewise
	ways   int      // how many ways were asked for
	parts  []factsOf
}
