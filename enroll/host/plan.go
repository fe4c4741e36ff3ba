package host

import (
	"fleetctl/enroll/outcome"
	"fmt"
)

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
	p.otherTbots()
	p.accounts()
	p.tpmAccess()
	p.handOver()
	p.storage()
	p.outputs()
	p.config()
	p.address()
	p.service()
	p.rooms()
	return p.steps
}

// Hopeless is the plan of a host of which nothing that it says could change the problems; nil for one that is worth
// asking.
func (d Desired) Hopeless() Steps {
	p := &planner{d: d}
	p.token()
	return p.steps
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
		p.problem("token", outcome.NoToken, "no token has a rule for this host", outcome.Lookup(outcome.NoToken).Do)
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
