package token

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"fleetctl/enroll/outcome"
)

// Proposal is what applying tokens would do, as it was shown to a person. What is applied later is just that, or nothing.
type Proposal struct {
	Schema  string         `json:"schema"` // ProposalSchema
	Fleet   string         `json:"fleet"`
	Changes []ProposedStep `json:"changes"` // by name
	Diff    Diff           `json:"diff"`    // for the reader
}

// ProposedStep is the change of one bot or token. Digests are SHA-256, 64 hex digits.
type ProposedStep struct {
	Name   string `json:"name"` // "bot/fleet", "token/fleet-2"
	Action Action `json:"action"`
	Have   string `json:"have,omitempty"` // of what the cluster has; "" for nothing
	Want   string `json:"want,omitempty"` // of what it would have; "" for nothing
}

// ProposalSchema names what a file with a proposal is.
const ProposalSchema = "fleetctl/token-plan/v1"

// Propose makes a proposal of a difference.
func (s *Set) Propose(d Diff) Proposal {
	p := Proposal{Schema: ProposalSchema, Fleet: s.fleetName, Diff: d, Changes: []ProposedStep{}}
	for _, b := range d.Bots {
		if b.Action == ActionNone {
			continue
		}
		p.Changes = append(p.Changes, ProposedStep{Name: "bot/" + b.Name, Action: b.Action, Have: digestOf(b.Have), Want: digestOf(b.Want)})
	}
	for _, c := range d.Tokens {
		if c.Action == ActionNone {
			continue
		}
		step := ProposedStep{Name: "token/" + c.Name, Action: c.Action}
		if c.have != nil {
			step.Have = digestOf(c.have.raw)
		}
		if c.result != nil && c.Action != ActionDelete {
			step.Want = digestOf(c.result.content())
		}
		p.Changes = append(p.Changes, step)
	}
	return p
}

// content is what a token lets in, without what a write adds.
func (t *clusterToken) content() any {
	rules := slices.Clone(t.rules)
	for i := range rules {
		rules[i].why = ""
	}
	return []any{t.roles, t.bot, t.joinMethod, t.expires, t.cas, rules}
}

func digestOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was JSON before, or is made of strings: it can't fail
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// ParseProposal reads a proposal. The error is ErrInput.
func ParseProposal(data []byte) (*Proposal, error) {
	var p Proposal
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, &outcome.InputError{Msg: fmt.Sprintf("it is no plan of fleetctl tokens: %v", err)}
	}
	if p.Schema != ProposalSchema {
		return nil, &outcome.InputError{Msg: fmt.Sprintf("it is %q, not %s", cmp.Or(p.Schema, "a plan of another version"), ProposalSchema),
			Hint: "make the plan again with this version of fleetctl"}
	}
	return &p, nil
}

// Fits is an error when applying would do something else than what was proposed: records, inventory, fleet.yaml or the
// cluster have changed since. It names what differs.
func (p *Proposal) Fits(now Proposal) error {
	if p == nil {
		return nil
	}
	if p.Fleet != now.Fleet {
		return &outcome.InputError{Msg: fmt.Sprintf("the plan is of fleet %q, and this is fleet %q", p.Fleet, now.Fleet)}
	}
	was, is := map[string]ProposedStep{}, map[string]ProposedStep{}
	for _, s := range p.Changes {
		was[s.Name] = s
	}
	for _, s := range now.Changes {
		is[s.Name] = s
	}
	names := slices.Sorted(maps.Keys(was))
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if _, ok := was[name]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if why := staleStep(was[name], is[name]); why != "" {
			return &outcome.InputError{
				Msg:  fmt.Sprintf("the plan is not what would be done any more: %s: %s; nothing was applied", name, why),
				Hint: "make a new plan, and look at it"}
		}
	}
	return nil
}

// staleStep says what has changed since a step was proposed; "" for nothing.
func staleStep(was, now ProposedStep) string {
	switch {
	case was == now:
		return ""
	case was.Name == "":
		return "it would be changed, too"
	case now.Name == "":
		return "there is nothing to change any more"
	case was.Have != now.Have:
		return "somebody has changed it in the cluster"
	case was.Want != now.Want:
		return "records, inventory or fleet.yaml want something else"
	}
	return fmt.Sprintf("%s instead of %s", now.Action, was.Action)
}
