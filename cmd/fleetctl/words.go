package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll"
	"fleetctl/enroll/token"
)

// Note says what happened.
func (k *console) Note(n enroll.Note) {
	if k.quiet && !amiss(n) {
		return
	}
	switch n := n.(type) {
	case enroll.TokensMade:
		k.tokens(n.Set)
	case enroll.ClusterDiffers:
		k.differs(n.Diff)
	case enroll.HostRefused:
		k.refused(n.Result)
	case enroll.HostWarned:
		k.warned(n.Host, n.Reason)
	case enroll.CredentialsLive:
		k.credentials(n)
	case enroll.RulesKept:
		k.kept(n.Kept)
	case enroll.HostsLeave:
		k.leave(n.Hosts)
	case enroll.KeysToTrust:
		for _, h := range n.Hosts {
			for _, key := range h.Keys {
				k.host(h.Host, keyText(h, key), "")
			}
		}
	case enroll.NotLocked:
		k.host(n.Instance.Host, "could not be locked: "+n.Err.Error(), "")
	case enroll.CAsLeftOut:
		for _, why := range n.Left {
			k.app.say("token.ekcert_cas: left out: %s", why)
		}
		k.app.say("token.ekcert_cas: %d certificates are used, %d things were left out", n.Used, len(n.Left))
	case enroll.TbotIgnores:
		for _, w := range n.Warnings {
			k.app.say("%s", w.Message)
		}
	default:
		k.app.say("%s", noteText(n))
	}
}

// amiss says whether a note is of something that is not as it should be.
func amiss(n enroll.Note) bool {
	switch n.(type) {
	case enroll.HostRefused, enroll.HostWarned, enroll.ClusterSilent, enroll.NotLocked, enroll.StillAdmitted, enroll.TokenAlarm,
		enroll.HookFailed, enroll.RolloutStopped, enroll.FilesKept, enroll.ClockOff, enroll.RecordsOld, enroll.UndoPending,
		enroll.TombstonesCount:
		return true
	}
	return false
}

// differs says what changes in the cluster, in lines of its own.
func (k *console) differs(d token.Diff) {
	var text strings.Builder
	_ = writeTokenDiff(&text, d, few) // a Builder takes everything
	for line := range strings.Lines(text.String()) {
		k.app.say("%s", strings.TrimSuffix(line, "\n"))
	}
}

// noteText is a note in one line.
func noteText(n enroll.Note) string {
	switch n := n.(type) {
	case enroll.FileWritten:
		return n.Path + " changed"
	case enroll.FileDiffers:
		return n.Path + " would change"
	case enroll.Applied:
		return "applied " + n.What
	case enroll.RolesKept:
		return fmt.Sprintf("bot/%s keeps its roles %v (fleetctl tokens --apply --overwrite-roles changes them)", n.Bot.Name, n.Bot.Have)
	case enroll.ClusterAsItShouldBe:
		if n.Applying {
			return "the cluster has everything as it should be: nothing was applied"
		}
		return "the cluster has everything as it should be"
	case enroll.ClusterSilent:
		return fmt.Sprintf("%s: %v", silence(n.About), n.Err)
	case enroll.JoinsVerified:
		var all []string
		for _, by := range slices.Sorted(maps.Keys(n.By)) {
			all = append(all, fmt.Sprintf("%s=%d", by, n.By[by]))
		}
		return "joined, by who says so: " + strings.Join(all, " ")
	case enroll.RuleAdopted:
		return fmt.Sprintf("%s: adopted from token %s, unproven", n.Adoption.Host, n.Adoption.Token)
	case enroll.RuleNotAdopted:
		return "not adopted: " + n.Why
	case enroll.RolloutStopped:
		return fmt.Sprintf("the rollout stopped: %s: %s not started", n.Why, screen.Count(n.Left))
	case enroll.NothingLeft:
		return fmt.Sprintf("nothing to do: the last %s finished all of these hosts", n.Command)
	case enroll.RuleGone:
		return n.Host + ": its rule and its record are gone; the host itself was not contacted"
	case enroll.FilesKept:
		return fmt.Sprintf("the files in %s stay as they are; don't apply them, they still have what was removed: %v", n.Dir, n.Err)
	case enroll.CAsHeld:
		var hosts []string
		for _, h := range n.By {
			hosts = append(hosts, h.Host)
		}
		return fmt.Sprintf("token %s: its CA check stays as it is: %d hosts may have it and would not pass the new one: %s "+
			"(fleetctl enroll moves them; remove, records disable and tokens --contract are a person's word)",
			n.Token, len(hosts), screen.Folded(hosts, fewNames))
	case enroll.RecordsOld:
		return fmt.Sprintf("the records were older than the cluster's tokens: no rule leaves %s until \"fleetctl records recover\"",
			screen.Folded(n.Tokens, fewNames))
	case enroll.RulesOpen:
		return openRulesText(n.Rules)
	case enroll.PolicyChanges:
		return "the policy of the whole fleet changes: " + strings.Join(n.Changes, "; ")
	case enroll.ClockOff:
		return clockText(n)
	case enroll.PinsRotated:
		return fmt.Sprintf("cluster %s rotates its CAs: its pins are %s, and were %s", n.Cluster, strings.Join(n.Now, ", "),
			strings.Join(n.Was, ", "))
	case enroll.TokenAlarm:
		return alarmText(n.Alarm)
	case enroll.HalfWay:
		return "step 1 of 2: apply the files, then enroll, then run tokens again: it takes the rules away that nobody needs any more"
	case enroll.Learned:
		l := n.Lesson
		return fmt.Sprintf("the cluster knew more than the records: %d rules stay, %d hosts keep the token that they have there, "+
			"%d tokens are newer",
			len(l.Ways), len(l.Assign), len(l.Tokens))
	case enroll.TombstonesCount:
		return tombstonesText(n)
	case enroll.UndoPending:
		return n.Host + ": what enroll made on it is still there; fleetctl remove --resume takes it away when the host can be reached"
	case enroll.StillAdmitted:
		return stillAdmitted(n)
	case enroll.Locked:
		return fmt.Sprintf("%s: bot instance %s is locked", n.Instance.Host, n.Instance.Instance)
	case enroll.HookFailed:
		return n.Err.Error()
	}
	return fmt.Sprintf("%T", n) // a note that nobody has given words to: a test finds it
}

// clockText says why a clock can't be right.
func clockText(n enroll.ClockOff) string {
	text := "warning: the clock here says " + shortTime(n.Here)
	if !n.Cluster.IsZero() {
		text += ", the cluster's " + shortTime(n.Cluster)
	}
	if n.Newest.ID != 0 {
		text += fmt.Sprintf(", and run %d (%s) of the records was at %s", n.Newest.ID, n.Newest.Command, shortTime(n.Newest.Started))
	}
	text += ": dates of certificates are not judged; set the clock"
	if n.Newest.ID != 0 {
		text += " (when it is right: fleetctl records recover --clock)"
	}
	return text
}

// tombstonesText names the machines that a file keeps out.
func tombstonesText(n enroll.TombstonesCount) string {
	var names []string
	for _, m := range n.Machines {
		names = append(names, cmp.Or(m.Host, "EK "+m.EKHash[:min(12, len(m.EKHash))]))
	}
	return fmt.Sprintf("%s keeps %d machines out that the records had lost: %s (fleetctl records readmit lets them in again)",
		n.File, len(names), screen.Folded(names, fewNames))
}

// alarmText is an alarm with the hosts that it is about, and what to do.
func alarmText(a token.Alarm) string {
	text := "alarm: " + a.Text
	if len(a.Hosts) > 0 {
		text += ": " + screen.Folded(a.Hosts, fewNames)
	}
	if a.Kind == token.AlarmAhead {
		text += " (fleetctl records recover)"
	}
	return text
}

// openRulesText names the hosts whose rules somebody should look at.
func openRulesText(rules []enroll.OpenRule) string {
	var orphans, stale []string
	for _, r := range rules {
		if r.Orphan && !slices.Contains(orphans, r.Host) {
			orphans = append(orphans, r.Host)
		}
		if r.Stale && !slices.Contains(stale, r.Host) {
			stale = append(stale, r.Host)
		}
	}
	var parts []string
	if len(orphans) > 0 {
		parts = append(parts, fmt.Sprintf("%d hosts have rules and are not in the inventory (fleetctl remove --offline takes them out): %s",
			len(orphans), screen.Folded(orphans, fewNames)))
	}
	if len(stale) > 0 {
		parts = append(parts, fmt.Sprintf("%d hosts keep an old rule and have not joined for long: %s", len(stale),
			screen.Folded(stale, fewNames)))
	}
	return strings.Join(parts, "; ")
}

// kept says which rules stay for a while.
func (k *console) kept(kept map[string][]token.Rule) {
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		var hosts []string
		for _, r := range kept[name] {
			hosts = append(hosts, r.Host)
		}
		k.app.say("token %s: %d rules stay until their hosts have joined with another token: %s", name, len(hosts),
			screen.Folded(hosts, fewNames))
	}
}

func silence(about enroll.ClusterSubject) string {
	switch about {
	case enroll.AboutTokens:
		return "bot and tokens are not compared with the cluster's"
	case enroll.AboutJoins:
		return "the cluster doesn't say which bots joined"
	case enroll.AboutAdmitted:
		return "it is not known whether another token admits the machine: not all tokens could be read"
	case enroll.AboutFleet:
		return "it is not known whether the fleet has tokens that these records don't know (as after they were lost)"
	case enroll.AboutCluster:
		return "it is not known whether tctl speaks to the cluster of these records"
	case enroll.AboutVersion:
		return "the cluster's version is not known"
	}
	return "the cluster is not asked"
}

// tokens says what deserves attention in what the records make of a fleet.
func (k *console) tokens(set *token.Set) {
	for _, r := range set.Refused {
		k.host(r.Host, string(r.Code)+": "+r.Message, advise(r.Host, r.Reason).Hint)
	}
	k.unchecked(set.Unchecked)
	if n := len(set.Unproven); n > 0 {
		k.app.say("%d rules rest on identities that nobody has proven: %s", n, screen.Folded(set.Unproven, fewNames))
	}
	if n := len(set.Moved); n > 0 {
		k.app.say("%d hosts change token and need a new tbot configuration (fleetctl enroll):", n)
		k.moves(set.Moved)
	}
}

// moves says which hosts change token, those with the same tokens together.
func (k *console) moves(all []token.Move) {
	hosts := map[string][]string{}
	var order []string
	for _, m := range all {
		what := m.From + " → " + m.To
		if _, ok := hosts[what]; !ok {
			order = append(order, what)
		}
		hosts[what] = append(hosts[what], m.Host)
	}
	for _, what := range order {
		k.app.say("%s: %s", screen.Folded(hosts[what], fewNames), what)
	}
}

// unchecked names hosts whose certificate isn't checked, those with the same reason together.
func (k *console) unchecked(hosts []token.Unchecked) {
	byReason := map[string][]string{}
	for _, u := range hosts {
		byReason[u.Reason] = append(byReason[u.Reason], u.Host)
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		names := byReason[reason]
		k.app.say("%d hosts join by their EK hash alone: %s: %s", len(names), reason, screen.Folded(names, fewNames))
	}
}

// leave says what goes with hosts, before anything is done; of many what is the same once.
func (k *console) leave(hosts []enroll.Leaving) {
	if len(hosts) <= few {
		for _, h := range hosts {
			k.app.say("%s%s", h.Host, whyLeaving(h))
			k.goes(h, "EK "+strings.Join(h.EKs, ", EK "))
		}
		return
	}
	var first []enroll.Leaving
	names := map[string][]string{}
	for _, h := range hosts {
		key := alike(h)
		if names[key] == nil {
			first = append(first, h)
		}
		names[key] = append(names[key], h.Host)
	}
	for _, h := range first {
		all := names[alike(h)]
		k.app.say("%s: %s%s", screen.Count(len(all)), screen.Folded(all, manyNames), whyLeaving(h))
		k.goes(h, "the EK of each")
	}
}

// alike is the same for hosts with which the same goes.
func alike(h enroll.Leaving) string {
	return fmt.Sprint(whyLeaving(h), h.Token, len(h.EKs), h.Things, h.Record)
}

// goes says what goes with a host, or with each of several.
func (k *console) goes(h enroll.Leaving, eks string) {
	if h.Token != "" {
		k.app.say("  - its rule in token %s", h.Token)
	}
	if len(h.EKs) > 0 {
		k.app.say("  - %s, whichever token has it", eks)
	}
	for _, thing := range h.Things {
		k.app.say("  - %s", thing)
	}
	if h.Record {
		k.app.say("  - its record, once the host is done")
	}
}

func whyLeaving(h enroll.Leaving) string {
	switch {
	case h.Alias:
		return ", another name of " + h.With
	case h.With != "":
		return ", which presents the EK of " + h.With + ", too: an old or a new name of it, or a clone"
	case h.Chosen:
		return ", chosen by a pattern"
	}
	return ""
}

func stillAdmitted(n enroll.StillAdmitted) string {
	if n.May {
		return fmt.Sprintf("%s: token %s may admit it %s", n.Host, n.Token, n.Why)
	}
	return fmt.Sprintf("%s: token %s, which fleetctl did not write, still admits its EK %s", n.Host, n.Token, n.EKHash)
}

// credentials says how long what was issued lives on, and how to end it now.
func (k *console) credentials(n enroll.CredentialsLive) {
	if n.NoLock {
		k.app.say("the cluster is older than Teleport 18: a bot instance cannot be locked alone")
	}
	k.app.say("credentials that were issued live on for up to %s after the last renewal; to end them now:",
		cmp.Or(n.TTL, "1h (tbot's default)"))
	for _, i := range n.Instances {
		until := ""
		if !i.Until.IsZero() {
			until = ", until " + shortTime(i.Until)
		}
		k.app.say("  tctl lock --bot-instance-id=%s   # %s%s (Teleport 18 and later)", i.Instance, i.Host, until)
	}
	k.app.say("  tctl lock --user=bot-%s --ttl=1h   # the bot with all of its hosts", n.Bot)
}
