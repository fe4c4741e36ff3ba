package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"maps"
	"slices"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/token"
)

// console tells a person on stderr how a use case gets on: a progress bar on a terminal, a line for every host that did
// not do well, and a line for everything else that happens. It is the enroll.Watcher of the command line.
type console struct {
	app     *app
	bars    bool // draw progress bars
	verbose bool
	quiet   bool // no lines for hosts that did not do well: the results say it all
	bar     *progressbar.ProgressBar
}

func (a *app) console(c *cli.Context) *console {
	return &console{app: a, bars: a.terminal && !c.Bool("no-progress"), verbose: c.Bool("verbose")}
}

// Begin draws a bar for a stage.
func (k *console) Begin(stage enroll.Stage, hosts int) {
	k.quiet = stage == enroll.StageStatus
	if !k.bars {
		return
	}
	k.bar = progressbar.NewOptions(hosts,
		progressbar.OptionSetWriter(k.app.stderr), progressbar.OptionSetDescription(string(stage)),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionEnableColorCodes(os.Getenv("NO_COLOR") == ""),
		progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
}

// Host moves the bar.
func (k *console) Host(r outcome.Result) {
	if troubled(r) && !k.quiet {
		if k.bar != nil {
			_ = k.bar.Clear()
		}
		k.trouble(r)
	}
	if k.bar != nil {
		_ = k.bar.Add(1)
	}
}

// End takes the bar away.
func (k *console) End() {
	if k.bar != nil {
		_ = k.bar.Finish()
		k.bar = nil
	}
}

// Logf says what -v asks for.
func (k *console) Logf(format string, args ...any) {
	if k.verbose {
		k.app.say(format, args...)
	}
}

// troubled says whether the user should hear of a host at once.
func troubled(r outcome.Result) bool {
	return r.Bad() || slices.ContainsFunc(r.Warnings, func(w outcome.Warning) bool { return w.Fatal })
}

// trouble says what is wrong with a host and what to do about it.
func (k *console) trouble(r outcome.Result) {
	if r.Bad() {
		k.host(r.Host, cmp.Or(string(r.Code), string(r.Outcome))+": "+r.Message, advise(r.Host, r.Reason).Hint)
	}
	for _, w := range r.Warnings {
		if w.Fatal {
			k.host(r.Host, "tbot will not join: "+w.Message, advise(r.Host, w.Reason).Hint)
		}
	}
}

func (k *console) host(name, text, hint string) {
	k.app.say("%s: %s", name, text)
	if hint != "" {
		k.app.say("%s: hint: %s", name, hint)
	}
}

// Note says what happened.
func (k *console) Note(n enroll.Note) {
	switch n := n.(type) {
	case enroll.TokensMade:
		k.tokens(n.Set)
	case enroll.ClusterDiffers:
		k.differs(n.Diff)
	case enroll.HostRefused:
		k.trouble(n.Result)
	case enroll.CredentialsLive:
		k.credentials(n)
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

// differs says what changes in the cluster, in lines of its own.
func (k *console) differs(d token.Diff) {
	var text strings.Builder
	_ = writeTokenDiff(&text, d) // a Builder takes everything
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
	case enroll.NothingLeft:
		return fmt.Sprintf("nothing to do: the last %s finished all of these hosts", n.Command)
	case enroll.RuleGone:
		return n.Host + ": its rule and its record are gone; the host itself was not contacted"
	case enroll.HookFailed:
		return n.Err.Error()
	}
	return fmt.Sprintf("%T", n) // a note that nobody has given words to: a test finds it
}

func silence(about enroll.ClusterSubject) string {
	switch about {
	case enroll.AboutTokens:
		return "bot and tokens are not compared with the cluster's"
	case enroll.AboutJoins:
		return "the cluster doesn't say which bots joined"
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
		k.app.say("%d rules rest on identities that nobody has proven: %s", n, some(set.Unproven, 10))
	}
	if n := len(set.Moved); n > 0 {
		k.app.say("%d hosts change token and need a new tbot configuration (fleetctl enroll):", n)
		for _, m := range set.Moved {
			k.app.say("%s: %s → %s", m.Host, m.From, m.To)
		}
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
		k.app.say("%d hosts join by their EK hash alone: %s: %s", len(names), reason, some(names, 10))
	}
}

// some lists the first names of many.
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

// credentials says how long what was issued lives on, and how to end it now.
func (k *console) credentials(n enroll.CredentialsLive) {
	k.app.say("credentials that were issued live on for up to %s after the last renewal; to end them now:",
		cmp.Or(n.TTL, "1h (tbot's default)"))
	for _, i := range n.Instances {
		k.app.say("  tctl lock --bot-instance-id=%s   # %s (Teleport 18 and later)", i.Instance, i.Host)
	}
	k.app.say("  tctl lock --user=bot-%s --ttl=1h   # the bot with all of its hosts", n.Bot)
}
