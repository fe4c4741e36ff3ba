package token

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/remote"
)

// ApplyOptions of Apply.
type ApplyOptions struct {
	Prune bool        // take rules that we did not write out of our tokens
	Roles bool        // overwrite the roles of bots that exist
	Store store.Store // where is noted what is written and seen, and where rules that are gone are forgotten; may be nil

	SkipRefused bool // tokens that are not ours are left alone instead of ending it: for rules that have to go

	Proposal *Proposal // what a person has seen: something else is not applied; nil: nobody asked for one

	MaxRemovals   int // machines that may lose their last rule without anybody having named them; 1 at least
	AllowRemovals int // so many, when it is just that number
}

// Applied is what Apply did.
type Applied struct {
	Diff    Diff        `json:"diff"`           // what differed before
	Changed []string    `json:"changed"`        // "bot/fleet", "token/fleet-2"…, in the order in which they were changed
	Kept    []BotChange `json:"kept,omitempty"` // bots whose roles differ, and stay
}

// Apply brings the cluster to what the set says, and touches only what differs: bots first (one that exists keeps its
// roles unless opts.Roles), then tokens that get rules, then tokens that lose some, one run of tctl each. Every change
// is read back. The first failure ends it; Applied says how far it came.
func (s *Set) Apply(ctx context.Context, cluster tctl.Tctl, opts ApplyOptions) (done Applied, err error) {
	if err := s.lint(); err != nil {
		return done, err
	}
	if done.Diff, err = s.Diff(ctx, cluster, DiffOptions{Prune: opts.Prune}); err != nil {
		return done, err
	}
	if err := done.Diff.Refusals(); err != nil && !opts.SkipRefused {
		return done, err
	}
	if err := s.checkSizes(done.Diff); err != nil {
		return done, err
	}
	if err := opts.Proposal.Fits(s.Propose(done.Diff)); err != nil {
		return done, err
	}
	if err := s.brake(s.lost(done.Diff), opts); err != nil {
		return done, err
	}
	if err := s.Saw(ctx, opts.Store, done.Diff); err != nil {
		return done, err
	}
	dir, err := os.MkdirTemp("", "fleetctl-apply-")
	if err != nil {
		return done, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, c := range done.Diff.Bots {
		if err := s.applyBot(ctx, cluster, opts, dir, c, &done); err != nil {
			return done, err
		}
	}
	for _, c := range applyOrder(done.Diff.Tokens) {
		if err := s.applyToken(ctx, cluster, opts, dir, c, &done); err != nil {
			return done, fmt.Errorf("token %s: %w", c.Name, err)
		}
	}
	return done, s.readBack(ctx, cluster, opts, done)
}

// readBack reads all tokens that were changed once more: somebody else may have written one after we did.
func (s *Set) readBack(ctx context.Context, cluster tctl.Tctl, opts ApplyOptions, done Applied) error {
	var errs []error
	for _, what := range done.Changed {
		name, isToken := strings.CutPrefix(what, "token/")
		if !isToken || len(done.Changed) == 1 {
			continue
		}
		after, err := s.diffToken(ctx, cluster, name, DiffOptions{Prune: opts.Prune})
		if err == nil {
			err = s.lostRace(after)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("token %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// ErrLostRace is a token that somebody else wrote at the same time: nobody knows what of ours is in it. The next run merges
// both.
var ErrLostRace = errors.New("somebody else wrote it at the same time")

// lostRace is an error when a token that we wrote is not what we wrote.
func (s *Set) lostRace(after Change) error {
	if after.Action == ActionNone {
		return nil
	}
	ours, theirs := s.writes[after.Name], ""
	if after.have != nil {
		theirs = after.have.stamp.write
	}
	if ours != "" && theirs != "" && theirs != ours {
		return outcome.WithHint(fmt.Errorf("%w: the cluster has write %q where ours was %s: %s", ErrLostRace, remote.Clean(theirs), ours,
			after.summary()), "run it again: what both have written is merged")
	}
	return fmt.Errorf("tctl reported success, but the cluster has something else: %s", after.summary())
}

// applyOrder puts changes that take rules away behind those that only add: a host that moves to another token has its
// rule there before it loses the old one.
func applyOrder(changes []Change) []Change {
	ordered := slices.Clone(changes)
	slices.SortStableFunc(ordered, func(a, b Change) int { return a.weight() - b.weight() })
	return ordered
}

func (c Change) weight() int {
	switch {
	case c.Action == ActionDelete:
		return 2
	case len(c.Removed) > 0:
		return 1
	}
	return 0
}

// identityFields are the differing fields of a token that its name stands for.
func (c Change) identityFields() []string {
	var differs []string
	for _, f := range c.Fields {
		if slices.Contains([]string{"roles", "bot_name", "join_method"}, f.Field) {
			differs = append(differs, fmt.Sprintf("its %s is %q where fleet.yaml asks for %q", f.Field, f.Have, f.Want))
		}
	}
	return differs
}

// ErrForeignRules is a token that has no room for its hosts beside the rules that somebody else wrote: take them over,
// remove them, or raise token.max_bytes.
var ErrForeignRules = errors.New("rules that fleetctl did not write need the token's room")

// checkSizes refuses tokens that are too large only because of rules that we did not write.
func (s *Set) checkSizes(d Diff) error {
	for _, c := range d.Tokens {
		if c.result == nil || s.maxBytes <= 0 || len(c.Foreign) == 0 {
			continue // rules of ours that are kept may be more than that: nobody is locked out for the sake of a size
		}
		if size := reserveBytes + jsonBytes(c.document(writeID())); size > s.maxBytes {
			return outcome.Mark(fmt.Errorf("%w: token %s would be %d bytes with the %d rules in the cluster that fleetctl did "+
				"not write, more than token.max_bytes (%d)", outcome.ErrInput, c.Name, size, len(c.Foreign), s.maxBytes), ErrForeignRules)
		}
	}
	return nil
}

func (s *Set) applyBot(
	ctx context.Context, cluster tctl.Tctl, opts ApplyOptions, dir string, c BotChange, done *Applied,
) error {
	var doc any
	switch {
	case c.Action == ActionCreate:
		doc = botDocumentOf(Bot{Name: c.Name, Roles: c.Want})
	case c.Action == ActionUpdate && opts.Roles:
		doc = withRoles(c.raw, c.Want)
	case c.Action == ActionUpdate:
		done.Kept = append(done.Kept, c)
		return nil
	default:
		return nil
	}
	// Without -f a bot that somebody made meanwhile is an error, so that its roles are never overwritten unasked.
	if err := applyFile(ctx, cluster, filepath.Join(dir, "bot-"+c.Name+".yaml"), doc, c.Action == ActionUpdate); err != nil {
		return fmt.Errorf("bot %s: %w", c.Name, err)
	}
	done.Changed = append(done.Changed, "bot/"+c.Name)
	after, err := s.diffBot(ctx, cluster, Bot{Name: c.Name, Roles: c.Want})
	if err == nil && after.Action != ActionNone {
		err = fmt.Errorf("tctl reported success, but the cluster has roles %v instead of %v", after.Have, c.Want)
	}
	return err
}

// withRoles is a bot of the cluster with other roles; its traits stay.
func withRoles(raw map[string]any, roles []string) map[string]any {
	doc := withoutServerFields(raw)
	spec, _ := raw["spec"].(map[string]any)
	spec = maps.Clone(spec)
	if spec == nil {
		spec = map[string]any{}
	}
	spec["roles"] = roles
	doc["spec"] = spec
	return doc
}

// withoutServerFields copies a resource without what the server says about it: a revision, for one, would make tctl
// refuse the file when somebody else was faster, and the status is not ours.
func withoutServerFields(raw map[string]any) map[string]any {
	doc := maps.Clone(raw)
	delete(doc, "status")
	if meta, ok := raw["metadata"].(map[string]any); ok {
		meta = maps.Clone(meta)
		delete(meta, "revision")
		delete(meta, "id")
		doc["metadata"] = meta
	}
	return doc
}

func (s *Set) applyToken(
	ctx context.Context, cluster tctl.Tctl, opts ApplyOptions, dir string, c Change, done *Applied,
) error {
	if c.Refused != nil {
		return nil
	}
	switch c.Action {
	case ActionNone:
		return retract(ctx, opts.Store, c.removed)
	case ActionDelete:
		if err := cluster.Remove(ctx, "token", c.Name); err != nil {
			return err
		}
	default:
		if err := s.write(ctx, cluster, opts.Store, dir, c); err != nil {
			return err
		}
	}
	done.Changed = append(done.Changed, "token/"+c.Name)
	after, err := s.diffToken(ctx, cluster, c.Name, DiffOptions{Prune: opts.Prune})
	if err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	if err := s.lostRace(after); err != nil {
		return err
	}
	if err := s.Saw(ctx, opts.Store, Diff{Tokens: []Change{after}}); err != nil {
		return err
	}
	return retract(ctx, opts.Store, c.removed)
}

// write writes a token under a new write id, which the records know before the cluster does.
func (s *Set) write(ctx context.Context, cluster tctl.Tctl, st store.Store, dir string, c Change) error {
	id := writeID()
	s.writes[c.Name] = id
	if st != nil {
		if err := st.Wrote(ctx, c.Name, id); err != nil {
			return err
		}
	}
	return applyFile(ctx, cluster, filepath.Join(dir, fileOf(c.Name)), c.document(id), true)
}

// Declare takes a person's word that the files of an epoch were applied: all rules of tokens that are not newer are seen.
func (s *Set) Declare(ctx context.Context, st store.Store, epoch int64) error {
	newest := int64(0)
	for _, t := range s.Tokens {
		newest = max(newest, t.Epoch)
	}
	if epoch > newest {
		return &outcome.InputError{Msg: fmt.Sprintf("there is no epoch %d: the newest that the files have is %d", epoch, newest)}
	}
	for _, t := range s.Tokens {
		if t.Epoch > epoch {
			continue
		}
		for _, r := range t.Rules {
			s.note(t.Name, r.EKHash)
		}
		if err := st.Saw(ctx, t.Name, t.Epoch, t.stored()); err != nil {
			return err
		}
	}
	return nil
}

// Saw notes what the cluster was seen to have of ours, and nothing else: from then on hosts may be configured with it.
func (s *Set) Saw(ctx context.Context, st store.Store, d Diff) error {
	for _, c := range d.Tokens {
		if c.Refused != nil {
			continue
		}
		delete(s.seen, c.Name) // what was seen once may have left it since, by another controller's hand
		if c.have == nil {
			continue
		}
		in := map[string]bool{}
		for _, r := range c.have.rules {
			in[string(r.EKPublicHash)] = true
		}
		var rules []store.Rule
		for _, r := range c.want.stored() {
			if in[r.EKHash] && !c.waits() {
				s.note(c.Name, r.EKHash)
				rules = append(rules, r)
			}
		}
		epoch := int64(0)
		if c.Action == ActionNone && !s.unlearned(c) {
			epoch = c.have.stamp.epoch
		}
		if st == nil || len(rules) == 0 && epoch == 0 {
			continue
		}
		if err := st.Saw(ctx, c.Name, epoch, rules); err != nil {
			return err
		}
	}
	return nil
}

// unlearned says whether the cluster has newer content of a token, and of somebody else: noted as seen, it would not be new any
// more before anybody has learned from it.
func (s *Set) unlearned(c Change) bool { return c.ahead() && c.WrittenBy() != s.writes[c.Name] }

// waits says whether the cluster's token may not admit machines yet although it has their rules: CAs have to come first.
func (c Change) waits() bool {
	return slices.ContainsFunc(c.Fields, func(f FieldChange) bool { return f.Field == "ekcert_allowed_cas" && f.Have == "" })
}

func (s *Set) note(token, ek string) {
	if s.seen[token] == nil {
		s.seen[token] = map[string]bool{}
	}
	s.seen[token][ek] = true
}

func retract(ctx context.Context, st store.Store, rules []store.Rule) error {
	if st == nil || len(rules) == 0 {
		return nil
	}
	return st.Retract(ctx, rules)
}

func applyFile(ctx context.Context, cluster tctl.Tctl, file string, doc any, force bool) error {
	content, err := marshalYAML("", doc)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return err
	}
	return errors.Join(cluster.Create(ctx, file, force), os.Remove(file))
}

// document is what is applied: the set's token where the cluster has nothing of its own in it, else the cluster's with
// our fields, so that what others put there stays.
func (c Change) document(write string) any {
	t := c.result
	labels := c.want.labels(write)
	ours := document{
		Kind: "token", Version: "v2", Metadata: metadata{Name: c.Name, Labels: quotedValues(labels)},
		Spec: spec{Roles: t.roles, JoinMethod: t.joinMethod, BotName: t.bot,
			TPM: tpmSpec{EKCertAllowedCAs: t.cas, Allow: t.rules}},
	}
	if t.raw == nil {
		return ours
	}
	doc := withoutServerFields(t.raw)
	if meta, ok := doc["metadata"].(map[string]any); ok {
		if t.expires == "" {
			delete(meta, "expires")
		}
		meta["labels"] = withLabels(meta["labels"], labels)
		if len(c.want.Rules) == 0 { // only rules of others are left: it is theirs from now on
			meta["labels"] = withoutMark(meta["labels"])
		}
	}
	spec, _ := t.raw["spec"].(map[string]any)
	spec = maps.Clone(spec)
	if spec == nil {
		spec = map[string]any{}
	}
	spec["roles"], spec["join_method"], spec["tpm"] = ours.Spec.Roles, ours.Spec.JoinMethod, ours.Spec.TPM
	delete(spec, "bot_name")
	if t.bot != "" {
		spec["bot_name"] = t.bot
	}
	doc["spec"] = spec
	return doc
}

// withLabels adds labels to those of a resource.
func withLabels(have any, ours map[string]string) map[string]any {
	all := map[string]any{}
	if have, ok := have.(map[string]any); ok {
		maps.Copy(all, have)
	}
	for key, value := range ours {
		all[key] = quoted(value)
	}
	return all
}

// withoutMark takes our labels away.
func withoutMark(have any) map[string]any {
	all := withLabels(have, nil)
	for _, key := range []string{labelFleet, labelEpoch, labelWrite} {
		delete(all, key)
	}
	return all
}

// summary is the change in one line.
func (c Change) summary() string {
	if c.Action == ActionNone {
		return "as it should be"
	}
	return fmt.Sprintf("%s: %d added, %d removed, %d changed, %d foreign, %d pruned, %d fields",
		c.Action, len(c.Added), len(c.Removed), len(c.Changed), len(c.Foreign), len(c.Pruned), len(c.Fields))
}
