package host

import (
	"strings"

	"fleetctl/enroll/versions"
	"fleetctl/templates"
)

// A unit that Teleport's own updater wrote is never overwritten (teleport-update, from 18.4.0 on for tbot: #60478, #61198);
// a drop-in says what is different. After an update the updater restarts tbot, watches its process by the PID file, asks
// its health over a socket, and goes back to the old version if that fails (#60477). So tbot must go on writing both, where
// the updater looks for them. Neither can be a given: the PID file is /run/tbot.pid, which no user but root can write, and
// in the sandbox not even root.

// updaterHeader begins every file of the updater.
const updaterHeader = "# teleport-update"

// What the updater watches: the flag that says where, and a name in the unit's runtime directory.
var watched = [...]struct {
	flag       string
	capability versions.Capability
	name       string
}{
	{"--diag-socket-for-updater=", versions.StartDiagSocket, "debug.sock"},
	{"--pid-file=", versions.StartPIDFile, "tbot.pid"},
}

// runtimeDir is RuntimeDirectory=tbot of the unit, or of the drop-in: tbot's user may write there.
const runtimeDir = "/run/tbot"

// systemdPlus is the first systemd that runs a command of a unit outside of its sandbox ("+").
const systemdPlus = 231

// updaterOwns says whether the unit in use is the updater's.
func (f *Facts) updaterOwns() bool {
	return strings.HasPrefix(f.files[unitPath].content, updaterHeader) || strings.HasPrefix(f.service.header, updaterHeader)
}

// updaterStart is the command that the updater's unit starts tbot with.
func (f *Facts) updaterStart() string {
	start := f.service.start
	for line := range strings.Lines(f.files[unitPath].content) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); ok {
			start = s
		}
	}
	return start
}

// updaterNeeds is what tbot has to be told so that the updater can go on watching it: the flags that the updater's unit has
// and this tbot knows, and links from where the updater looks to where tbot may write. Of a tbot that doesn't say its
// version, what the updater believes of it is believed here, too.
func (d Desired) updaterNeeds(f *Facts) (flags []string, links []templates.Link) {
	if !f.updaterOwns() || f.Systemd < systemdPlus {
		return nil, nil
	}
	for _, w := range watched {
		at, ok := flagIn(f.updaterStart(), w.flag)
		if !ok || !cleanPath(at) || !versions.Possibly(w.capability, f.tbot.version) {
			continue
		}
		to := at
		if !strings.HasPrefix(at, string(d.Tbot.Storage)+"/") {
			to = runtimeDir + "/" + w.name
			links = append(links, templates.Link{At: at, To: to})
		}
		flags = append(flags, w.flag+to)
	}
	return flags, links
}

// flagIn finds the value of a flag ("--name=") in a unit's command.
func flagIn(command, flag string) (value string, ok bool) {
	for _, w := range strings.Fields(command) {
		if v, found := strings.CutPrefix(w, flag); found {
			value, ok = v, true
		}
	}
	return value, ok
}
