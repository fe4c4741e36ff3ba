package token

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/remote"
)

// Alarm is something about a token in the cluster that a person should hear of.
type Alarm struct {
	Kind  AlarmKind `json:"kind"`
	Text  string    `json:"text"`
	Hosts []string  `json:"hosts,omitempty"`
}

// AlarmKind says what kind of alarm it is.
type AlarmKind string

// Alarms.
const (
	AlarmDeleted  AlarmKind = "deleted"  // somebody deleted the token
	AlarmBehind   AlarmKind = "behind"   // somebody applied an old file again
	AlarmAhead    AlarmKind = "ahead"    // the cluster has newer content than the records
	AlarmLostRace AlarmKind = "lostrace" // somebody else wrote the token at the same time
	AlarmHeld     AlarmKind = "held"     // rules of others keep the token from checking certificates
	AlarmReturned AlarmKind = "returned" // machines that were taken out have a rule again
)

// Refused is why a token of the cluster is left as it is.
type Refused struct {
	Reason string `json:"reason"`
	Hint   string `json:"hint"`
}

// alarmOfMissing says so when a token that the cluster had is gone.
func (c *Change) alarmOfMissing(s *Set) {
	if known, _ := s.known(c.Name); c.Action == ActionCreate && known.Seen > 0 {
		c.alarm(AlarmDeleted, c.Added, "the cluster had it, and somebody deleted it")
	}
}

// known is a token as the records have it, if they do.
func (s *Set) known(name string) (t knownToken, ok bool) {
	i := slices.IndexFunc(s.published, func(t store.Token) bool { return t.Name == name })
	if i >= 0 {
		t.Token = s.published[i]
	}
	return t, i >= 0
}

// judgeStamp compares who wrote the token last with what the records know, and decides whether it is ours at all.
// ahead: whoever wrote it knew more than the records do.
func (c *Change) judgeStamp(s *Set, known knownToken, published, ahead bool) {
	st := c.have.stamp
	if c.refuse(s, published); c.Refused != nil {
		return
	}
	if back := c.returned(s); len(back) > 0 {
		c.alarm(AlarmReturned, back, "machines that were taken out have a rule again")
	}
	c.theirs = st.fleet == s.fleetName && (ahead || known.stranger(st))
	switch {
	case ahead:
		c.alarm(AlarmAhead, nil, "the cluster has epoch %d of it, the records know of %d: nothing is taken out of it",
			st.epoch, known.Seen)
		if c.Action == ActionUpdate {
			c.want.Epoch = max(c.want.Epoch, st.epoch+1)
		} else {
			c.want.Epoch = st.epoch
		}
	case st.epoch > 0 && st.epoch < known.Seen:
		c.alarm(AlarmBehind, nil, "the cluster has epoch %d of it again, and had %d: somebody applied an old file", st.epoch, known.Seen)
	case known.stranger(st) && (c.Action != ActionNone || c.hasStrangers()):
		c.alarm(AlarmLostRace, nil, "somebody else wrote epoch %d of it, as %s where ours was %s: %s; both are merged",
			st.epoch, remote.Clean(st.write), known.Write, c.versions())
	}
	c.stampFields()
	if c.managed() && c.Action != ActionNone {
		c.Refused = &Refused{Reason: "it is managed by " + remote.Clean(st.origin),
			Hint: "commit " + fileOf(c.Name) + " where that takes it from, and let it apply the file"}
	}
}

// ahead says whether the cluster has newer content of it than the records.
func (c *Change) ahead() bool {
	return slices.ContainsFunc(c.Alarms, func(a Alarm) bool { return a.Kind == AlarmAhead })
}

// hasStrangers says whether there are rules for TPMs that we did not write.
func (c *Change) hasStrangers() bool {
	return slices.ContainsFunc(c.Foreign, func(f ForeignRule) bool { return store.ValidEKHash(f.EKHash) })
}

// WrittenBy is the id of the write that the cluster has; "" for none.
func (c Change) WrittenBy() string {
	if c.have == nil {
		return ""
	}
	return c.have.stamp.write
}

// versions says what two writes of one epoch have alone.
func (c *Change) versions() string {
	theirs := append(slices.Clone(c.Removed), foreignNames(c.Foreign)...)
	var said []string
	say := func(whose string, hosts []string) {
		if len(hosts) > 0 {
			said = append(said, whose+" alone has "+listed(hosts, 10))
		}
	}
	say("theirs", theirs)
	say("ours", c.Added)
	return cmp.Or(strings.Join(said, ", "), "the same rules, other settings")
}

// managed says whether another tool keeps the token: Teleport's own label says so.
func (c *Change) managed() bool {
	return c.have.stamp.origin != "" && c.have.stamp.origin != "defaults"
}

func (c *Change) alarm(kind AlarmKind, hosts []string, format string, args ...any) {
	c.Alarms = append(c.Alarms, Alarm{Kind: kind, Hosts: hosts, Text: fmt.Sprintf(format, args...)})
}

// knownToken is a token as the records have it.
type knownToken struct{ store.Token }

// ahead says whether the cluster has newer content of a token than the records.
func (k knownToken) ahead(st stamp) bool { return st.epoch > max(k.Epoch, k.Seen) }

// strange says whether the cluster has, under the fleet's mark, a token that these records have never written there nor seen,
// with rules that they neither made nor want: whoever wrote it knew more. Epochs say nothing then, since new records begin at 1
// again.
func (s *Set) strange(k knownToken, want Token, have *clusterToken) bool {
	st := have.stamp
	if k.Seen > 0 || k.Write != "" || st.epoch == 0 || st.fleet != s.fleetName || k.wrote(st.write) {
		return false
	}
	return slices.ContainsFunc(have.rules, func(r allowRule) bool {
		ek := string(r.EKPublicHash)
		return !slices.ContainsFunc(s.written, func(w store.Rule) bool { return w.Token == k.Name && w.EKHash == ek }) &&
			!slices.ContainsFunc(want.Rules, func(w Rule) bool { return w.EKHash == ek })
	})
}

// stranger says whether somebody else wrote the token since the cluster was last seen to have what these records know of it,
// or at the same time. Whatever was planned since doesn't make that write an old one. Records of an older fleetctl know only
// their latest write, and can't tell an earlier one from another's.
func (k knownToken) stranger(st stamp) bool {
	if st.epoch == 0 || k.wrote(st.write) {
		return false
	}
	return st.epoch == k.Epoch || len(k.Recent) > 0 && st.epoch >= k.Seen
}

// wrote says whether a write is one that the records know of: into the cluster, or that of a file.
func (k knownToken) wrote(write string) bool {
	known := func(id string) bool { return write == id || write == fileWrite(id) }
	return known(k.Write) || known(k.Digest) || slices.ContainsFunc(k.Recent, known)
}

// returned are machines that a person took out and that have a rule in the token.
func (c *Change) returned(s *Set) []string {
	var hosts []string
	was := map[string]bool{}
	for _, r := range s.written {
		was[r.EKHash] = was[r.EKHash] || r.Token == c.Name
	}
	for _, r := range c.have.rules {
		if ek := string(r.EKPublicHash); s.named[ek] && !was[ek] {
			hosts = append(hosts, remote.Clean(string(r.Description)))
		}
	}
	return hosts
}

// stampFields makes the labels of a token a difference when nothing else is one: they go with the content.
func (c *Change) stampFields() {
	st := c.have.stamp
	if c.Action != ActionNone || len(c.want.Rules) == 0 || c.want.Epoch == 0 ||
		st.fleet == c.want.Fleet && st.epoch >= c.want.Epoch {
		return
	}
	want := stamp{fleet: c.want.Fleet, epoch: c.want.Epoch}
	c.Fields = append(c.Fields, FieldChange{Field: "labels", Have: st.String(), Want: want.String()})
	result := *c.have
	c.Action, c.result = ActionUpdate, &result
}

func (s stamp) String() string {
	if s.fleet == "" {
		return ""
	}
	return fmt.Sprintf("%s, epoch %d", remote.Clean(s.fleet), s.epoch)
}

// refuse says why a token is not ours to change: it stands for something else, belongs to another fleet or to another
// tool, or has no mark of ours and none of our rules.
func (c *Change) refuse(s *Set, published bool) {
	st := c.have.stamp
	another := fmt.Sprintf("set another token.name in fleet.yaml, for example %s-%s", c.Name, cmp.Or(c.want.Bot, "tpm"))
	switch {
	case c.Action == ActionDelete && !published:
		return
	case c.managed():
		return // judged when it is known whether anything differs
	case st.fleet != "" && st.fleet != s.fleetName:
		c.Refused = &Refused{Reason: "it belongs to fleet " + remote.Clean(st.fleet), Hint: another}
	case len(c.identityFields()) > 0:
		c.Refused = &Refused{Reason: "the cluster has it for something else: " + strings.Join(c.identityFields(), ", "), Hint: another}
	case st.fleet == "" && !s.wroteInto(c, published):
		c.Refused = &Refused{Reason: "somebody else made it: it has no mark of fleetctl, and no rule that these records know",
			Hint: "fleetctl tokens can adopt it with its rules; or " + another}
	}
}

// wroteInto says whether the records know a token without a mark as one of theirs: they list it, and the cluster has a rule
// there that they wrote and saw, or has none at all.
func (s *Set) wroteInto(c *Change, published bool) bool {
	if !published {
		return false
	}
	for _, r := range s.written {
		same := func(h allowRule) bool { return string(h.EKPublicHash) == r.EKHash }
		if r.Token == c.Name && r.Seen && slices.ContainsFunc(c.have.rules, same) {
			return true
		}
	}
	return len(c.have.rules) == 0 || s.adopted
}

// Refusals are the tokens that are not ours to change, as one error.
func (d Diff) Refusals() error {
	var errs []error
	for _, c := range d.Tokens {
		if c.Refused != nil {
			errs = append(errs, &outcome.InputError{
				Msg: fmt.Sprintf("token %s: %s; it stays as it is", c.Name, c.Refused.Reason), Hint: c.Refused.Hint,
			})
		}
	}
	return errors.Join(errs...)
}

// NamedAlarms are those of the token, with its name before them.
func (c Change) NamedAlarms() []Alarm {
	all := slices.Clone(c.Alarms)
	for i := range all {
		all[i].Text = "token " + c.Name + ": " + all[i].Text
	}
	return all
}

// Alarms are those of all tokens.
func (d Diff) Alarms() []Alarm {
	var all []Alarm
	for _, c := range d.Tokens {
		all = append(all, c.NamedAlarms()...)
	}
	return all
}
