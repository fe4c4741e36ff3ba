package enroll

import (
	"slices"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
)

// Some hosts are known not to be well: one is away for repair, one waits for its board. What the inventory expects of them
// (fleetctl_expect) is no failure, as long as it is so and no longer than it says; what differs from it is told.

// away are the codes of a host that nobody can reach. One that shows another key is not away.
var away = []outcome.Code{outcome.ConnectFailed, outcome.Timeout, outcome.Disconnected}

// expectation is what the inventory expects of a host. One that cannot be read is told where the host is worked on.
func expectation(h inventory.Host) config.Expectation {
	vars, err := config.Host(h)
	if err != nil {
		return config.Expectation{}
	}
	return vars.Expect
}

// expected is the result of a host as it counts: one that is away, and expected to be, is skipped.
func (f Fleet) expected(h inventory.Host, r outcome.Result) outcome.Result {
	e := expectation(h)
	if !e.Of(config.ExpectDown, f.time()) {
		return r
	}
	switch {
	case r.Outcome == outcome.Unreachable && slices.Contains(away, r.Code):
		r.Outcome = outcome.Skipped
		r.Reason = outcome.Reason{Code: outcome.ExpectedDown, Message: "expected to be " + e.String() + ": " + r.Message}
	case r.Outcome == outcome.OK || r.Outcome == outcome.Changed:
		r.Warnings = append(r.Warnings, unexpectedlyUp(e))
	}
	return r
}

func unexpectedlyUp(e config.Expectation) outcome.Warning {
	return outcome.Warning{Reason: outcome.Because(outcome.UnexpectedlyUp, "it is expected to be "+e.String())}
}

// leaveAlone makes results for hosts that enroll shall leave alone.
func (e *enrollment) leaveAlone() {
	for _, h := range e.Hosts {
		x := expectation(h)
		if x.Of(config.ExpectUnenrolled, e.time()) && !e.results[h.Name].Bad() {
			r := e.results[h.Name]
			r.Host, r.Outcome = h.Name, outcome.Skipped
			r.Reason = outcome.Reason{Code: outcome.ExpectedUnenrolled, Message: "expected to be " + x.String()}
			e.results[h.Name] = r
		}
	}
}

// expect makes of a state that the inventory expects one that is well.
func (s *HostStatus) expect(e config.Expectation, f Fleet) {
	down := s.State == outcome.StateUnreachable && slices.Contains(away, s.Code)
	switch {
	case down && e.Of(config.ExpectDown, f.time()), s.State == outcome.StateNotEnrolled && e.Of(config.ExpectUnenrolled, f.time()):
		s.State, s.Reason = outcome.StateExpected, outcome.Reason{Message: "expected to be " + e.String()}
	case !down && e.Of(config.ExpectDown, f.time()):
		s.Warnings = append(s.Warnings, unexpectedlyUp(e))
	}
}
