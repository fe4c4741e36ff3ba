package host

import "slices"

// PlanRemoval plans to take away what enroll put on a host: the service, files that carry our mark, tbot's state, and
// of accounts and directories only what enroll made (made, as store.Installed has it, or an account's comment). It is
// pure. Files of somebody else that were adopted come back.
func PlanRemoval(f *Facts, d Desired, made []Thing) Steps {
	p := &removal{planner: planner{f: f, d: d}, made: made}
	if !p.root() {
		return p.steps
	}
	unit := f.files[unitPath].ours() || f.files[updaterPath].ours()
	p.serviceAway(unit)
	p.unitAway()
	p.fileAway("configuration", string(d.Tbot.Config))
	p.storageAway(unit || f.files[string(d.Tbot.Config)].ours())
	p.deviceAway()
	p.accountsAway()
	p.tbotAway()
	return p.steps
}

type removal struct {
	planner
	made []Thing
}

func (p *removal) wasMade(kind thingKind, name string) bool {
	return slices.Contains(p.made, Thing{kind: kind, name: name})
}
