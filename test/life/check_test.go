package life

import (
	"context"
	"maps"
	"slices"
	"strings"

	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

// admits asks the fleet's cluster whether a machine may join with a token.
func (w *world) admits(m *machine, token string) error { return w.clusters[0].Admits(m.request(token)) }

// checkCluster holds the cluster against the invariants, after every write to it.
func (w *world) checkCluster(a *actor) {
	for _, m := range w.machines {
		w.checkAdmitted(m, a)
	}
	w.checkOut(a)
}

// checkAdmitted: what has admitted a machine admits it (invariants 1, 2 and 4).
func (w *world) checkAdmitted(m *machine, a *actor) {
	for _, token := range m.tokens() {
		err := w.admits(m, token)
		switch {
		case err == nil:
			m.could[token] = true
		case w.racing && m.could[token] && !slices.Contains(a.before[m.board.ek], token), m.could[token] && m.by != nil && m.by.c != a.c:
			// Its new rule was overwritten, or another controller has moved it, which these records can't know: the next runs merge.
			m.could[token], m.owed[token] = false, true
		case m.could[token] && w.excused[m.board.ek] == "" && w.out[m.board.ek] == "" && w.unheard[m.board.ek] == "" && !m.foreign && !w.unclear(m):
			w.broken("LOCKED OUT: %s (%s) has token %q, which admitted it before, in %s: %v", m, w.whose(m.board.ek), token, a.name,
				firstLine(err))
		}
	}
}

// unclear says whether another machine presents the EK of a machine, and there may be no records that know both: a machine is its
// EK, so that a join of the one ends what was kept for the other.
func (w *world) unclear(m *machine) bool {
	return (w.forgot || len(w.ctls) > 1) && slices.ContainsFunc(w.machines, func(o *machine) bool { return o != m && o.board.ek == m.board.ek })
}

// checkOut: nobody who was removed, disabled or replaced is in any token (invariant 3).
func (w *world) checkOut(a *actor) {
	if len(w.out) == 0 {
		return
	}
	all := w.allRules()
	for _, ek := range slices.Sorted(maps.Keys(w.out)) {
		switch in := all[ek]; {
		case len(in) == 0 || w.outsider:
		case !w.heard(a.c, ek) || w.racing && slices.ContainsFunc(w.ctls, func(c *controller) bool { return !w.heard(c, ek) }): // of several controllers, and their files are not shared
			w.unheard[ek] = w.out[ek]
			delete(w.out, ek)
		default:
			w.broken("STILL ADMITTED: %s by %v, after %s, in %s", w.whose(ek), in, w.out[ek], a.name)
		}
	}
}

// heard says whether a controller can know that a machine was taken out: by its records, or by the file beside its tokens.
func (w *world) heard(c *controller, ek string) bool {
	if buried, err := token.ReadTombstones(c.out); err != nil || slices.ContainsFunc(buried, func(m store.Machine) bool { return m.EKHash == ek }) {
		return true
	}
	st, err := store.OpenWith(context.Background(), c.db, store.Options{Existing: true})
	if err != nil {
		return false
	}
	defer func() { w.must(st.Close()) }()
	for m, err := range st.Machines(context.Background()) {
		w.must(err)
		if m.EKHash == ek {
			return m.Out()
		}
	}
	return false
}

// checkMachine holds a machine against the invariants, after every step on it.
func (w *world) checkMachine(m *machine, a *actor) {
	now := m.tokens()
	for token := range m.could {
		if !slices.Contains(now, token) {
			delete(m.could, token)
		}
	}
	for _, token := range now {
		if m.could[token] {
			continue
		}
		err := w.admits(m, token)
		if err == nil {
			m.could[token] = true
			continue
		}
		if token == m.configured() && token != m.was && token != a.configured[m] && !w.outsider && !w.racing && m.scanned == m.board.ek && a.knows(m) && w.excused[m.board.ek] == "" &&
			w.out[m.board.ek] == "" {
			w.broken("CONFIGURED FIRST: %s got token %q, which does not admit it, in %s: %v", m, token, a.name, firstLine(err)) // invariant 5; an undo puts back what was there
		}
	}
	if token := m.configured(); token != m.was {
		w.say("    %s: %s gets token %q", a.name, m, token)
		m.was, m.by = token, a
	}
}

// lookAgain forgets who could join, after something that no run of ours did.
func (w *world) lookAgain() {
	for _, m := range w.machines {
		for _, token := range m.tokens() {
			was := m.could[token]
			m.could[token] = w.admits(m, token) == nil
			m.owed[token] = m.owed[token] || was && !m.could[token]
		}
	}
}

func firstLine(err error) string {
	s := strings.Fields(err.Error())
	return strings.Join(s[:min(len(s), 14)], " ")
}

// sameRules says whether machines other than some have the rules that they had, and whose differ.
func sameRules(before, after map[string][]string, but func(ek string) bool) (differ []string) {
	for _, ek := range slices.Sorted(maps.Keys(before)) {
		if !but(ek) && !slices.Equal(before[ek], after[ek]) {
			differ = append(differ, ek)
		}
	}
	for _, ek := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[ek]; !ok && !but(ek) {
			differ = append(differ, ek)
		}
	}
	return differ
}

// checkTheirs: what belongs to somebody else stays as it is.
func (w *world) checkTheirs(a *actor) {
	for _, name := range slices.Sorted(maps.Keys(w.theirs)) {
		if now := w.document(name); now != w.theirs[name] {
			w.broken("TAKEN OVER: token %s of somebody else was changed in %s: %s", name, a.name, now)
		}
	}
}

// checkBrake: no command takes the last rule of more machines than may lose it without that a person named them. One that
// only ever waited for its tbot is counted, too.
func (w *world) checkBrake(a *actor) {
	if w.outsider || a.disturbed {
		return
	}
	after := w.allRules()
	var lost []string
	for _, ek := range slices.Sorted(maps.Keys(a.before)) {
		if len(after[ek]) == 0 && w.excused[ek] == "" && w.waiting[ek] == "" && w.out[ek] == "" && !strings.HasPrefix(ek, "0000") {
			lost = append(lost, w.whose(ek))
		}
	}
	if len(lost) > max(1, a.c.config.Token.MaxRemovals) {
		w.broken("BRAKE: %d machines that nobody named lost their last rule in %s: %v", len(lost), a.name, lost)
	}
}
