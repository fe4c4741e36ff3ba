package host

import (
	"cmp"
	"fleetctl/enroll/outcome"
	"fmt"
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

// undo is how a step is taken back, where there is a tbot to go back to. Of a first configuration nothing is: the next run
// completes it.
func (p *planner) undo(step *Step, actions ...action) {
	if p.goesBack() {
		step.undo = append(step.undo, actions...)
	}
}

// goesBack says whether there is a tbot that has to be as before when this one fails.
func (p *planner) goesBack() bool {
	_, config := p.f.files[string(p.d.Tbot.Config)]
	_, unit := p.f.files[unitPath]
	return config && (unit || p.f.updaterOwns()) || p.f.service.lives()
}

// last is the step that was planned last.
func (p *planner) last() *Step { return &p.steps[len(p.steps)-1] }

// problem is a step that nothing can do. The hint is that of the code where none is given.
func (p *planner) problem(name string, code outcome.Code, message, hint string) {
	why := outcome.Because(code, message)
	why.Hint = cmp.Or(hint, why.Hint)
	p.steps = append(p.steps, Step{Name: name, Reason: message, problem: &why})
}

// rendered is the content of every file that a host may need.
type rendered struct {
	config, unit, hardening, device, updater, rules []byte
}
