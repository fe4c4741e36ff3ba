package token

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// admitted are the tokens that admit a machine, by EK hash.
type admitted map[string][]string

func (a admitted) add(token, ek string) {
	if ek != "" && !slices.Contains(a[ek], token) {
		a[ek] = append(a[ek], token)
	}
}

// has says whether one of these tokens admits a machine; no tokens are all.
func (a admitted) has(ek string, tokens []string) bool {
	in := func(token string) bool { return slices.Contains(tokens, token) }
	return len(a[ek]) > 0 && (len(tokens) == 0 || slices.ContainsFunc(a[ek], in))
}

// lastWays are the machines that were admitted before and are not after: by one of the tokens that they may be configured
// with, for another one is of no use to them, or by any at all. Those that a person named are none of them.
func (s *Set) lastWays(before, after admitted) (lost []string) {
	for _, ek := range slices.Sorted(maps.Keys(before)) {
		ways := s.ways[ek]
		if !s.named[ek] && (!after.has(ek, nil) || before.has(ek, ways) && !after.has(ek, ways)) {
			lost = append(lost, ek)
		}
	}
	return lost
}

// lost are the machines that lose their last way by a change of the cluster, by EK hash with the names of their rules. Rules of
// others that a person wants to go are not counted.
func (s *Set) lost(d Diff) map[string]string {
	before, after, names := admitted{}, admitted{}, map[string]string{}
	pruned := map[string]bool{}
	for _, c := range d.Tokens {
		stays := c.have
		if c.Action != ActionNone && c.Refused == nil {
			stays = c.result
		}
		if c.have != nil {
			for _, r := range c.have.rules {
				before.add(c.Name, string(r.EKPublicHash))
				names[string(r.EKPublicHash)] = remote.Clean(string(r.Description))
			}
		}
		if stays != nil {
			for _, r := range stays.rules {
				after.add(c.Name, string(r.EKPublicHash))
			}
		}
		for _, r := range c.Pruned {
			pruned[r.EKHash] = true
		}
	}
	lost := map[string]string{}
	for _, ek := range s.lastWays(before, after) {
		if !pruned[ek] {
			lost[ek] = names[ek]
		}
	}
	return lost
}

// brake refuses a change by which more machines than a person allowed lose their last rule.
func (s *Set) brake(lost map[string]string, opts ApplyOptions) error {
	n := len(lost)
	if n == 0 || n == opts.AllowRemovals || opts.AllowRemovals == 0 && n <= max(1, opts.MaxRemovals) {
		return nil
	}
	const most = 20
	list := listed(slices.Sorted(maps.Values(lost)), most)
	return outcome.Mark(&outcome.InputError{
		Msg: fmt.Sprintf("%d machines would lose their last rule, and nobody named them: %s; nothing was changed", n, list),
	}, ErrRemovals)
}

// listed are names for people: the first of them, and how many more there are.
func listed(names []string, most int) string {
	list := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

// ErrRemovals is a change by which more machines would lose their last rule than a person allowed: look at the records, the
// inventory, the CA files and the clock, and allow just that number when it is meant.
var ErrRemovals = errors.New("more removals than allowed")

// ekInFile is an EKPub hash in a file of any format.
var ekInFile = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// CheckFiles refuses files by which more machines than a person allowed would lose their last rule: somebody applies them. A
// file that goes counts as its machines.
func (s *Set) CheckFiles(dir, format string, opts ApplyOptions) error {
	before, after, planned := admitted{}, admitted{}, map[string]bool{}
	for _, t := range s.Tokens {
		planned[t.Name+endingOf(format)] = true
		for _, r := range t.Rules {
			after.add(t.Name, r.EKHash)
		}
	}
	ours := stale(format)
	there, err := contentsOf(dir, func(name string, head []byte) bool { return planned[name] || ours(name, head) })
	if err != nil {
		return err
	}
	for name, content := range there {
		for _, ek := range ekInFile.FindAll(content, -1) {
			before.add(tokenOfFile(name, format), string(ek))
		}
	}
	lost := map[string]string{}
	for _, ek := range s.lastWays(before, after) {
		lost[ek] = "EK " + ek[:12] + "…"
	}
	for host, ek := range s.machineOf {
		if lost[ek] != "" {
			lost[ek] = host
		}
	}
	return s.brake(lost, opts)
}
