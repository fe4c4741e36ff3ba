package host

import (
	"cmp"
	"fmt"
	"slices"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// Step is one thing of a host that should be in a certain way. Either it is (it changes nothing, and Reason says why there
// is nothing to do), or its actions make it so, or nothing can (Steps.Problems).
type Step struct {
	Name   string
	Reason string
	Diff   string // of file contents, secrets masked
	Makes  Thing  // what a removal takes away again

	actions  []action
	undo     []action        // puts back what was there, when a later step or the verification fails
	problem  *outcome.Reason // why the host can't be enrolled as things are
	installs bool            // it brings another tbot: facts and plan are made anew after it
}

// Changes says whether the step has something to do.
func (s Step) Changes() bool { return len(s.actions) > 0 }

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

// Plan compares what a host is like with what it should be like. It is pure: the same arguments give the same steps, in
// the order in which Apply runs them. After an Apply the next plan has no step that changes anything.
func Plan(f *Facts, d Desired) Steps {
	p := &planner{f: f, d: d}
	if !p.preconditions() {
		return p.steps
	}
	r, err := d.render(f)
	if err != nil {
		p.problem("templates", outcome.BadTemplate, err.Error(), "")
		return p.steps
	}
	p.files = r
	p.tbot()
	p.services()
	p.accounts()
	p.tpmAccess()
	p.storage()
	p.outputs()
	p.config()
	p.service()
	return p.steps
}

// Hopeless is the plan of a host of which nothing that it says could change the problems; nil for one that is worth
// asking.
func (d Desired) Hopeless() Steps {
	p := &planner{d: d}
	p.token()
	return p.steps
}

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

// preconditions are what no step can bring about.
func (p *planner) preconditions() bool {
	if p.root() && p.token() {
		p.tpm()
	}
	return len(p.steps) == 0
}

func (p *planner) root() bool {
	if p.f.uid != 0 {
		p.problem("root", outcome.BecomeFailed, fmt.Sprintf("the plan was made as user %d, not as root", p.f.uid),
			"let fleetctl become root on the host: ansible_become")
	}
	return p.f.uid == 0
}

func (p *planner) token() bool {
	if p.d.token == "" {
		p.problem("token", outcome.NoToken, "no token has a rule for this host", "scan it first: fleetctl scan")
	}
	return p.d.token != ""
}

func (p *planner) tpm() {
	switch {
	case p.f.device.path == "" && p.f.device.tpm12:
		p.problem("TPM", outcome.TPM12, "the TPM is a 1.2, and tbot needs 2.0", "")
	case p.f.device.path == "":
		p.problem("TPM", outcome.NoTPM, "there is no TPM device",
			"enable the TPM in the firmware, or set tpm_device in the inventory")
	}
}
