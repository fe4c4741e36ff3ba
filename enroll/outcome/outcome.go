package outcome

import (
	"fmt"
	"strconv"
	"time"

	"fleetctl/enroll/store"
	"fleetctl/remote"
)

// Outcome of one host in a run, in the words of Ansible's recap.
type Outcome string

// Outcomes.
const (
	OK          Outcome = "ok"
	Changed     Outcome = "changed"
	Skipped     Outcome = "skipped"
	Unreachable Outcome = "unreachable"
	Failed      Outcome = "failed"
	Canceled    Outcome = "canceled"
)

// Result is how a run ended for one host.
type Result struct {
	Host    string  `json:"host"`
	Outcome Outcome `json:"outcome"`
	Reason
	EKHash   string       `json:"ek_public_hash,omitempty"`
	Serial   string       `json:"ek_certificate_serial,omitempty"`
	Proven   bool         `json:"proven,omitempty"`
	Warnings []Warning    `json:"warnings,omitempty"` // why a join will or may fail
	Joined   string       `json:"joined,omitempty"`   // what says that tbot joined: readyz or journal, and +cluster
	Instance string       `json:"bot_instance,omitempty"`
	Steps    []StepResult `json:"steps,omitempty"` // of enroll: what was done or would be
	Log      []string     `json:"log,omitempty"`   // the last lines of tbot's journal, when it did not join
	Took     Took         `json:"took_ms"`
}

// Took is how long something took: in JSON in milliseconds, rounded up, so that only what didn't happen took none.
type Took time.Duration

// MarshalJSON writes milliseconds.
func (t Took) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, t.Milliseconds(), 10), nil }

// UnmarshalJSON reads milliseconds.
func (t *Took) UnmarshalJSON(text []byte) error {
	ms, err := strconv.ParseInt(string(text), 10, 64)
	*t = Took(time.Duration(ms) * time.Millisecond)
	return err
}

// Milliseconds rounds up.
func (t Took) Milliseconds() int64 { return (time.Duration(t) + time.Millisecond - 1).Milliseconds() }

// End is how a run ended for a host, with what the list of codes says to do.
func End(host string, o Outcome, code Code, message string) Result {
	return Result{Host: host, Outcome: o, Reason: Because(code, message)}
}

// Bad says whether the host did not come to a good end.
func (r Result) Bad() bool { return r.Outcome == Failed || r.Outcome == Unreachable }

// Warning is something that the user should know of a host that may join all the same; Fatal: tbot will not join.
type Warning struct {
	Reason
	Fatal bool `json:"fatal,omitempty"`
}

// StepResult is one step of a host's plan.
type StepResult struct {
	Step    string `json:"step"`             // e.g. "user teleport", "/etc/tbot.yaml"
	Changed bool   `json:"changed"`          // or would be, in a dry run
	Reason  string `json:"reason,omitempty"` // why it is done, or why there is nothing to do
	Diff    string `json:"diff,omitempty"`
}

// Judge adds what the records make of an observation.
func Judge(r Result, v store.Verdict) Result {
	if v.Removed != nil {
		return removedEK(r, *v.Removed, v.Reused)
	}
	if v.Replaced != "" {
		r.Warnings = append(r.Warnings, Warning{Reason: Reason{Code: Unproven, Message: fmt.Sprintf(
			"the EK that was recorded for it, %s, was only claimed: what it has proven takes its place", v.Replaced)}})
	}
	if !v.Changed {
		return r
	}
	r.Outcome, r.Code = Failed, ChangedEK
	r.Message = fmt.Sprintf("the EK changed: accepted %s, now %s; the old rule stays", v.Old, r.EKHash)
	r.Hint = "find out why (a new board? another machine?), then: fleetctl records accept " + r.Host
	return r
}

// removedEK is the result of a host whose EK somebody took out. One that had it then is left alone; that another one has
// it is for a person to look at.
func removedEK(r Result, m store.Machine, reused bool) Result {
	r.Outcome, r.Code = Skipped, RemovedEK
	r.Message = "its EK was removed " + tombstone(m)
	if reused {
		r.Outcome = Failed
		r.Message = fmt.Sprintf("its EK is that of %s, which was %s %s: hardware used again?", remote.Line(m.Host), m.State, tombstone(m))
	}
	r.Hint = "if it shall be let in again: fleetctl records readmit " + m.Host
	return r
}

// tombstone says when and by whom a machine was taken out, and why.
func tombstone(m store.Machine) string {
	text := "on " + m.At.UTC().Format("2006-01-02 15:04")
	if m.By != "" {
		text += " by " + m.By
	}
	if m.Why != "" {
		text += " (" + m.Why + ")"
	}
	return remote.Line(text)
}
