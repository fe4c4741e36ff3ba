package host

import (
	"cmp"
	"fleetctl/enroll/outcome"
	"fmt"
	"slices"
)

type planner struct {
	f       *Facts
	d       Desired
	files   *rendered
	steps   Steps
	restart []string // why tbot has to be restarted
	reload  bool     // systemd has to read its files again
}

func (p *planner) done(name, reason string, args ...any) {
	p.steps = append(p.steps, Step{Name: name, Reason: fmt.Sprintf(reason, args...)})
}

func (p *planner) do(name, reason string, actions ...action) *Step {
	p.steps = append(p.steps, Step{Name: name, Reason: reason, actions: actions})
	return &p.steps[len(p.steps)-1]
}

// problem is a step that nothing can do. The hint is that of the code where none is given.
func (p *planner) problem(name string, code outcome.Code, message, hint string) {
	why := outcome.Because(code, message)
	why.Hint = cmp.Or(hint, why.Hint)
	p.steps = append(p.steps, Step{Name: name, Reason: message, problem: &why})
}

type removal struct {
	planner
	made []Thing
}

func (p *removal) wasMade(kind thingKind, name string) bool {
	return slices.Contains(p.made, Thing{kind: kind, name: name})
}

// rendered is the content of every file that a host may need.
type rendered struct {
	config, unit, hardening, device, updater, rules []byte
}
