package host

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
)

// winning are the directories whose units systemd takes before those in /etc/systemd/system (systemd.unit(5)).
var winning = []string{
	"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early",
}

// foreignUnit is tbot.service where it is somebody else's, and as it is; the zero Thing where there is none, or where it is ours.
func (p *planner) foreignUnit() Thing {
	s := p.f.service
	if s.fragment == "" || s.load != "loaded" || p.f.files[unitPath].ours() || p.f.files[updaterPath].ours() {
		return Thing{}
	}
	return Thing{kind: thingUnit, name: s.fragment, enabled: s.enabled, active: s.lives()}
}

// foreignService refuses a service of somebody else that runs, or will, wherever its unit lies: ours would take its name.
// A unit that nobody uses may be hidden by ours.
func (p *planner) foreignService() {
	u, s := p.foreignUnit(), p.f.service
	switch {
	case slices.Contains(winning, path.Dir(s.fragment)):
		p.problem("unit", outcome.NotOurs, s.fragment+" comes before "+unitPath+": what enroll writes there would not count",
			"take it away")
	case u == (Thing{}) || u.name == unitPath && !p.f.updaterOwns() || p.d.Adopt:
	case p.f.updaterOwns() && p.f.updaterConfig() == string(p.d.Tbot.Config):
	case u.active || strings.HasPrefix(u.enabled, "enabled") || strings.HasPrefix(u.enabled, "linked"):
		p.problem("unit", outcome.NotOurs, fmt.Sprintf("%s is somebody else's: %s starts %q as user %s, and it is %s and %s", UnitName,
			u.name, s.command, cmp.Or(s.user, "root"), s.active, u.enabled),
			"look at it; adopting replaces it, and a removal brings it back")
	}
}

// updaterConfig is the configuration that the updater's unit starts tbot with.
func (f *Facts) updaterConfig() string {
	words := strings.Fields(f.updaterStart())
	for i, w := range words {
		if value, ok := strings.CutPrefix(w, "--config="); ok {
			return value
		}
		if (w == "-c" || w == "--config") && i+1 < len(words) {
			return words[i+1]
		}
	}
	return ""
}
