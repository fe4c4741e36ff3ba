// Package claim judges who holds an EK that several machines present: a proof beats a claim, and of equals the one that has a
// rule is only warned about newcomers. A scan, the tokens and the records all ask here, so that they never disagree.
package claim

import (
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

// Fleet is what the inventory, the whole of it, says of names. The zero value says nothing.
type Fleet struct {
	Machines config.Machines // which names are one machine
	Listed   func(host string) bool
}

// FleetOf reads an inventory. Without one nobody can be said to have left it.
func FleetOf(inv []inventory.Host) Fleet {
	f := Fleet{Machines: config.MachinesOf(inv)}
	if len(inv) == 0 {
		return f
	}
	names := make(map[string]bool, len(inv))
	for _, h := range inv {
		names[h.Name] = true
	}
	f.Listed = func(host string) bool { return names[host] }
	return f
}

// Machine is a machine that presents an EK.
type Machine struct {
	Names  []string // under which it does, in the order of the records
	Proven bool     // its TPM has proven to hold the EK
	Token  string   // that one of its names was assigned to for this EK; "" for none
	Waits  bool     // the EK is not accepted for any of its names, it waits for that
}

// Dispute is what several machines that present one EK are to each other.
type Dispute struct {
	Machines []Machine
	Holder   int // the place of the machine that keeps the EK; -1: nobody can tell which

	// There may be thousands of clones, and each of them is told of: what that rests on is counted once.
	at     map[string]int // name → the place of its machine
	listed []bool         // whether the inventory has a name of the machine
	weighs []bool         // whether the machine is more than a claim
	total  tally
}

// tally counts machines, or their names.
type tally struct{ names, listed, weigh, proven int }

// Judge says who holds an EK, from the records of the hosts that present it. Those of one machine are one side.
func Judge(ek string, records []store.Record, f Fleet) Dispute {
	d := Dispute{at: make(map[string]int, len(records))}
	index := map[string]int{}
	for _, r := range records {
		root := f.Machines.Name(r.Host)
		i, ok := index[root]
		if !ok {
			i = len(d.Machines)
			index[root] = i
			d.Machines = append(d.Machines, Machine{Waits: true})
		}
		d.Machines[i].add(ek, r)
		d.at[r.Host] = i
	}
	d.count(f.Listed)
	d.Holder = d.holder()
	return d
}

// count counts the machines by what matters to each other; listed is nil where nobody knows the inventory.
func (d *Dispute) count(listed func(host string) bool) {
	d.listed, d.weighs = make([]bool, len(d.Machines)), make([]bool, len(d.Machines))
	for i, m := range d.Machines {
		d.total.names += len(m.Names)
		if m.Proven {
			d.total.proven++
		}
		if d.weighs[i] = m.Proven || m.Token != ""; d.weighs[i] { // a bare claim is no name that it had
			d.total.weigh++
		}
		if d.listed[i] = listed != nil && slices.ContainsFunc(m.Names, listed); d.listed[i] {
			d.total.listed++
		}
	}
}

// add takes in one name of the machine.
func (m *Machine) add(ek string, r store.Record) {
	m.Names = append(m.Names, r.Host)
	if r.Pending != nil && r.Pending.EKHash == ek {
		m.Proven = m.Proven || r.Pending.Proven
	}
	if r.Accepted == nil || r.Accepted.EKHash != ek {
		return
	}
	m.Waits = false
	m.Proven = m.Proven || r.Accepted.Proven
	if m.Token == "" && r.TokenEK == ek {
		m.Token = r.Token
	}
}

// holder finds the machine that keeps the EK: one that has proven it and has a rule; else the only one that has proven it;
// else one that has a rule. What waits to be accepted holds nothing. A rule of the EK never gets lost by that: it is the
// holder's, whoever had it.
func (d Dispute) holder() int {
	if len(d.Machines) == 1 {
		return 0
	}
	ruled := func(m Machine) bool { return !m.Waits && m.Token != "" }
	proven := func(m Machine) bool { return !m.Waits && m.Proven }
	if i := slices.IndexFunc(d.Machines, func(m Machine) bool { return proven(m) && ruled(m) }); i >= 0 {
		return i
	}
	if i := slices.IndexFunc(d.Machines, proven); i >= 0 && !slices.ContainsFunc(d.Machines[i+1:], proven) {
		return i
	}
	if i := slices.IndexFunc(d.Machines, ruled); i >= 0 {
		return i
	}
	accepted := func(m Machine) bool { return !m.Waits }
	if i := slices.IndexFunc(d.Machines, accepted); i >= 0 && !slices.ContainsFunc(d.Machines[i+1:], accepted) {
		return i // all others wait
	}
	return -1
}

// Open says whether several machines present the EK.
func (d Dispute) Open() bool { return len(d.Machines) > 1 }

// Token is the token that has a rule for the EK, whoever of the machines it was made for; "" for none.
func (d Dispute) Token() string {
	if d.Holder >= 0 && d.Machines[d.Holder].Token != "" {
		return d.Machines[d.Holder].Token
	}
	for _, m := range d.Machines {
		if m.Token != "" {
			return m.Token
		}
	}
	return ""
}

// Holds says whether a host is a name of the machine that keeps the EK.
func (d Dispute) Holds(host string) bool { return d.Holder >= 0 && d.Holder == d.of(host) }

// Alarm says whether two machines have proven the EK: one of them is a copy of the other.
func (d Dispute) Alarm() bool { return d.total.proven > 1 }

// Reason is what the dispute means for a host: for the holder a warning, for all others why they are refused.
func (d Dispute) Reason(host string) outcome.Reason {
	at := d.of(host)
	others := d.othersText(at)
	switch {
	case d.renamed(at):
		old, now := d.oldName(at), d.Machines[at].Names[0]
		return outcome.Reason{Code: outcome.Renamed, Hint: fmt.Sprintf("fleetctl records rename %s %s", old, now),
			Message: fmt.Sprintf("presents the EK of %s, which is not in the inventory%s: was it renamed?", old, d.keeps(d.Holder))}
	case at == d.Holder && d.Alarm():
		return outcome.Because(outcome.DuplicateEK,
			fmt.Sprintf("%s proved to hold the same EK: one of them is a copy%s", others, d.keeps(at)))
	case at == d.Holder:
		return outcome.Reason{Code: outcome.DuplicateEK, Message: others + " only claimed the same EK, and gets no rule",
			Hint: "find out who says so; fleetctl records forget takes the claim away"}
	case d.Holder < 0:
		return outcome.Because(outcome.DuplicateEK, "presents the same EK as "+others)
	}
	return outcome.Because(outcome.DuplicateEK, "presents the same EK as "+others+d.keeps(d.Holder))
}

// keeps says why a machine is the holder.
func (d Dispute) keeps(i int) string {
	if i < 0 {
		return ""
	}
	switch m := d.Machines[i]; {
	case m.Token != "":
		return fmt.Sprintf("; %s had it first and keeps its rule in token %s, the others get none", m.Names[0], m.Token)
	case m.Proven:
		return fmt.Sprintf("; %s has proven it, which counts for more than a claim", m.Names[0])
	}
	return ""
}

// renamed says whether a machine has proven an EK, while all others that present it are not in the inventory. A
// copy of a machine that was taken out looks like that, too, so a person has to say which.
func (d Dispute) renamed(at int) bool {
	others := d.total.weigh
	if d.weighs[at] {
		others--
	}
	if at == d.Holder && others == 0 {
		return false // nobody else has had it
	}
	return d.Machines[at].Proven && d.listed[at] && d.total.listed == 1
}

// oldName is the name that a renamed machine had: the holder's, else the first that there is.
func (d Dispute) oldName(at int) string {
	if d.Holder >= 0 && d.Holder != at {
		return d.Machines[d.Holder].Names[0]
	}
	first, _ := d.others(at)
	return first[0]
}

func (d Dispute) of(host string) int {
	if at, ok := d.at[host]; ok {
		return at
	}
	return -1
}

// MostOthers bounds how many of those that share an EK are named: of 10,000 clones each would name all others.
const MostOthers = 10

// Others are the names of all machines but that of a host: at most MostOthers of them, and how many more there are.
func (d Dispute) Others(host string) (first []string, more int) { return d.others(d.of(host)) }

func (d Dispute) others(but int) (first []string, more int) {
	n := d.total.names
	if but >= 0 {
		n -= len(d.Machines[but].Names)
	}
	for i, m := range d.Machines {
		if left := MostOthers - len(first); i != but && left > 0 {
			first = append(first, m.Names[:min(left, len(m.Names))]...)
		}
		if len(first) == MostOthers {
			break
		}
	}
	return first, n - len(first)
}

// OthersText is Others in words.
func (d Dispute) OthersText(host string) string { return d.othersText(d.of(host)) }

func (d Dispute) othersText(but int) string {
	first, more := d.others(but)
	text := strings.Join(first, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
