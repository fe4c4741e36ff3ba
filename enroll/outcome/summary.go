package outcome

import (
	"fmt"
	"strings"
)

// Summary is how a run ended: how many hosts had which outcome.
type Summary struct {
	Run    int64           `json:"run,omitempty"` // of the records
	Hosts  int             `json:"hosts"`
	Counts map[Outcome]int `json:"counts"`
}

// Outcomes in the order of Ansible's recap.
var outcomes = [...]Outcome{OK, Changed, Skipped, Unreachable, Failed, Canceled}

// Summarize counts outcomes.
func Summarize(run int64, results []Result) Summary {
	s := Summary{Run: run, Hosts: len(results), Counts: make(map[Outcome]int, len(outcomes))}
	for i := range results {
		s.Counts[results[i].Outcome]++
	}
	return s
}

// String is the recap: every outcome that occurred, in a fixed order, and ok always.
func (s Summary) String() string {
	parts := make([]string, 0, len(outcomes))
	for _, o := range outcomes {
		if n := s.Counts[o]; n > 0 || o == OK {
			parts = append(parts, fmt.Sprintf("%s=%d", o, n))
		}
	}
	return strings.Join(parts, " ")
}

// Err is ErrHostsFailed when a host failed, was unreachable or canceled.
func (s Summary) Err() error {
	if bad := s.Counts[Failed] + s.Counts[Unreachable] + s.Counts[Canceled]; bad > 0 {
		return fmt.Errorf("%d of %d %w", bad, s.Hosts, ErrHostsFailed)
	}
	return nil
}
