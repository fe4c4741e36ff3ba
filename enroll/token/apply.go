package token

import (
	"cmp"
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
)

// ApplyOptions of Apply.
type ApplyOptions struct {
	Prune bool        // take rules that we did not write out of our tokens
	Roles bool        // overwrite the roles of bots that exist
	Store store.Store // where rules that are gone are forgotten; may be nil
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
	if err := errors.Join(checkOurs(done.Diff), s.checkSizes(done.Diff)); err != nil {
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
	return done, nil
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

// checkOurs refuses tokens that the cluster has for something else. What a token's name stands for (whom its hosts join
// as, and how) is one for life: changed in place, rules that others wrote would join as our bot, and hosts that have the
// token now would not join as theirs any more.
func checkOurs(d Diff) error {
	var errs []error
	for _, c := range d.Tokens {
		if differs := c.identityFields(); len(differs) > 0 {
			errs = append(errs, &outcome.InputError{
				Msg: fmt.Sprintf("the cluster has a token %s for something else: %s; it stays as it is",
					c.Name, strings.Join(differs, ", ")),
				Hint: fmt.Sprintf("set another token.name in fleet.yaml, for example %s-%s", c.Name, cmp.Or(c.result.bot, "tpm")),
			})
		}
	}
	return errors.Join(errs...)
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
		if c.result == nil || s.maxBytes <= 0 {
			continue
		}
		if size := reserveBytes + jsonBytes(c.document()); size > s.maxBytes {
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
	switch c.Action {
	case ActionNone:
		return retract(ctx, opts.Store, c.removed)
	case ActionDelete:
		if err := cluster.Remove(ctx, "token", c.Name); err != nil {
			return err
		}
	default:
		if err := applyFile(ctx, cluster, filepath.Join(dir, fileOf(c.Name)), c.document(), true); err != nil {
			return err
		}
	}
	done.Changed = append(done.Changed, "token/"+c.Name)
	after, err := s.diffToken(ctx, cluster, c.Name, DiffOptions{Prune: opts.Prune})
	if err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	if after.Action != ActionNone {
		return fmt.Errorf("tctl reported success, but the cluster has something else: %s", after.summary())
	}
	return retract(ctx, opts.Store, c.removed)
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
func (c Change) document() any {
	t := c.result
	ours := document{
		Kind: "token", Version: "v2", Metadata: metadata{Name: c.Name},
		Spec: spec{Roles: t.roles, JoinMethod: t.joinMethod, BotName: t.bot,
			TPM: tpmSpec{EKCertAllowedCAs: t.cas, Allow: t.rules}},
	}
	if t.raw == nil {
		return ours
	}
	doc := withoutServerFields(t.raw)
	if meta, ok := doc["metadata"].(map[string]any); ok && t.expires == "" {
		delete(meta, "expires")
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

// summary is the change in one line.
func (c Change) summary() string {
	if c.Action == ActionNone {
		return "as it should be"
	}
	return fmt.Sprintf("%s: %d added, %d removed, %d changed, %d foreign, %d pruned, %d fields",
		c.Action, len(c.Added), len(c.Removed), len(c.Changed), len(c.Foreign), len(c.Pruned), len(c.Fields))
}
