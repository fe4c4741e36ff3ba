package config

import (
	"errors"
	"fmt"
	"time"
)

// What an inventory can expect of a host.
const (
	ExpectDown       = "down"       // it cannot be reached
	ExpectUnenrolled = "unenrolled" // enroll leaves it alone, and it is not enrolled
)

// Expectation is what an inventory says of a host that is not as others are, so that a run over it is all well
// (fleetctl_expect). The zero value expects nothing.
type Expectation struct {
	What  string    // ExpectDown, ExpectUnenrolled, or ""
	Until time.Time // the end of the last day for which it holds, UTC; zero: for good
}

// Of says whether it is this that is expected now.
func (e Expectation) Of(what string, now time.Time) bool {
	return e.What == what && (e.Until.IsZero() || now.Before(e.Until))
}

// String says for people what is expected, and until when.
func (e Expectation) String() string {
	if e.Until.IsZero() {
		return e.What
	}
	return e.What + " until " + e.Until.AddDate(0, 0, -1).Format(time.DateOnly)
}

// read takes the values of both variables; nil for one that is not set.
func (e *Expectation) read(what, until any) error {
	switch what {
	case nil, ExpectDown, ExpectUnenrolled:
	default:
		return fmt.Errorf("%v is not what can be expected of a host", what)
	}
	e.What, _ = what.(string)
	if until == nil {
		return nil
	}
	day, err := time.Parse(time.DateOnly, fmt.Sprint(until)) // YAML may have made a date of it, which prints so
	if t, ok := until.(time.Time); ok {
		day, err = t.UTC().Truncate(24*time.Hour), nil
	}
	switch {
	case err != nil:
		return fmt.Errorf("%v is no day", until)
	case e.What == "":
		return errors.New("there is a day until which nothing is expected")
	}
	e.Until = day.AddDate(0, 0, 1)
	return nil
}
