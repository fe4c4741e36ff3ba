package host

import (
	"fleetctl/enroll/outcome"
	"fleetctl/remote"
	"slices"
)

// Step is one thing of a host that should be in a certain way. Either it is (it changes nothing, and Reason says why there
// is nothing to do), or its actions make it so, or nothing can (Steps.Problems).
type Step struct {
	Name   string
	Reason string
	Diff   string // of file contents, secrets masked
	Makes  Thing  // what a removal takes away again

	also       []Thing         // what else it makes, or what was there before, for a removal
	actions    []action        // only the last one replaces something: those before it prepare that
	undo       []action        // puts back what was there, when a later step or the verification fails
	armed      bool            // the last action has begun: there may be something to put back
	whole      bool            // all of it was done
	problem    *outcome.Reason // why the host can't be enrolled as things are
	installs   bool            // it brings another tbot: facts and plan are made anew after it
	configures bool            // it changes what tbot is or how it runs: program, configuration, unit
}

// Changes says whether the step has something to do.
func (s Step) Changes() bool { return len(s.actions) > 0 }

// Things are what a removal has to know of the step: what it makes, and what was there before.
func (s Step) Things() []Thing {
	var all []Thing
	for _, t := range append([]Thing{s.Makes}, s.also...) {
		if t != (Thing{}) {
			all = append(all, t)
		}
	}
	return all
}

// Configures says whether the step changes what tbot is or how it runs, so that what was known of its joins is no longer
// about the tbot that comes out of it.
func (s Step) Configures() bool { return s.configures && s.Changes() }

// action is one thing that Apply does as root: a script or a file.
type action struct {
	script string
	file   *remote.File
	stdin  []byte // what the script reads
	push   *push  // a large file, before the script that uses it
	start  bool   // tbot starts: wait a random time first, so that a fleet doesn't join in one second
	whole  bool   // of an undo: only of a step that came to its end
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
