package enroll

import (
	"errors"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
)

// A host that is down, and expected to be, is no failure in any command, until its day is over.
func TestWhatIsExpectedIsNoFailure(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	l.with("web-02", func(s *enrolltest.State) { s.Down = true })
	l.set("web-02", "fleetctl_expect", "down")
	l.set("web-02", "fleetctl_expect_until", time.Now().UTC().Format(time.DateOnly)) // that day included
	l.set("web-03", "fleetctl_expect", "unenrolled")
	l.set("web-04", "fleetctl_expect", "down") // and it isn't
	const scanned = "web-01 ok, web-02 skipped expected-down, web-03 ok, web-04 ok"
	report, err := l.scan()
	l.check("scan", report.Results, err, scanned, nil)
	if w := report.Results[3].Warnings; len(w) != 1 || w[0].Code != outcome.UnexpectedlyUp {
		t.Errorf("of a host that is up: %+v", w)
	}
	enrolled, err := l.enroll()
	l.check("enroll", enrolled.Results, err,
		"web-01 changed, web-02 skipped expected-down, web-03 skipped expected-unenrolled, web-04 changed", nil)
	if in := l.record("web-03").Installed; in != nil {
		t.Errorf("it was enrolled: %+v", in)
	}
	status, err := Status(t.Context(), l.Fleet, nil)
	if err != nil || status.Counts[outcome.StateExpected] != 2 || status.Counts[outcome.StateHealthy] != 2 {
		t.Errorf("status: %v, %v", err, status.Counts)
	}
	l.set("web-02", "fleetctl_expect_until", "2020-01-31")
	late, err := l.scan()
	l.check("after its day", late.Results, err, "web-01 ok, web-02 unreachable disconnected, web-03 ok, web-04 ok", outcome.ErrHostsFailed)
}

// A host that shows another key is not away, whatever is expected.
func TestAnAlarmIsNeverExpected(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.set("web-01", "fleetctl_expect", "down")
	for _, code := range []outcome.Code{outcome.HostKeyChanged, outcome.AuthFailed, outcome.ChangedEK} {
		r := outcome.End("web-01", outcome.Unreachable, code, "")
		if got := l.expected(l.Hosts[0], r); got.Code != code || got.Outcome != outcome.Unreachable {
			t.Errorf("%s became %s", code, got.Code)
		}
	}
}

func TestExpectationsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for name, vars := range map[string]map[string]any{
		"no such word":     {"fleetctl_expect": "broken"},
		"no word":          {"fleetctl_expect": 7},
		"no day":           {"fleetctl_expect": "down", "fleetctl_expect_until": "soon"},
		"a day of nothing": {"fleetctl_expect_until": "2026-12-31"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			for k, v := range vars {
				l.set("web-01", k, v)
			}
			report, err := l.scan()
			l.check("scan", report.Results, err, "web-01 failed inventory-error", outcome.ErrHostsFailed)
			if !errors.Is(err, outcome.ErrHostsFailed) {
				t.Error(err)
			}
		})
	}
}
