package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/inventory"
)

func (a *app) tokensCommand() *cli.Command {
	return &cli.Command{
		Name:  "tokens",
		Usage: "write bot and tokens from the records; compare them with the cluster; apply them",
		Flags: concat(a.commonFlags(), a.inventoryFlags(), []cli.Flag{
			&cli.StringFlag{Name: "out", Value: "out", Usage: "write files into this `DIR`"},
			&cli.StringFlag{Name: "format", Value: token.FormatTctl, Usage: "of the files: tctl, terraform or kubernetes"},
			&cli.BoolFlag{Name: "diff", Usage: "show how the cluster differs, by host name"},
			&cli.BoolFlag{Name: "apply", Usage: "apply with tctl what differs"},
			&cli.BoolFlag{Name: "check", Usage: "write nothing; exit 4 when files (with --diff: the cluster) differ"},
			&cli.BoolFlag{Name: "adopt", Usage: "take over rules in the cluster that fleetctl did not write"},
			&cli.BoolFlag{Name: "prune", Usage: "remove rules in the cluster that fleetctl did not write"},
			&cli.BoolFlag{Name: "overwrite-roles", Usage: "give a bot that exists the roles of fleet.yaml"},
			&cli.BoolFlag{Name: "rebalance", Usage: "spread hosts over tokens anew; many then need a new tbot configuration"},
		}),
		Action: a.tokens,
	}
}

// inventoryFlags is for commands that want the inventory as a whole, and can do without.
func (a *app) inventoryFlags() []cli.Flag {
	return []cli.Flag{a.hostFlags()[0]}
}

func (a *app) tokens(c *cli.Context) error {
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	if err := checkTokenFlags(c); err != nil {
		return err
	}
	cfg, err := a.config(c, true)
	if err != nil {
		return err
	}
	hosts, err := a.wholeInventory(c, cfg)
	if err != nil {
		return err
	}
	var tctl tctl.Tctl
	if c.Bool("diff") || c.Bool("apply") || c.Bool("adopt") {
		if tctl, err = a.tctl(c, cfg); err != nil {
			return err
		}
	}
	st, err := a.open(c)
	if err != nil {
		return err
	}
	defer st.Close() // every record is committed when it is put
	run, err := st.BeginRun(c.Context, "tokens", len(hosts))
	if err != nil {
		return err
	}
	err = a.makeTokens(c, p, tokensRun{cfg: cfg, hosts: hosts, tctl: tctl, st: st, run: run})
	recorded := err
	if errors.Is(err, outcome.ErrChanges) || errors.Is(err, outcome.ErrHostsFailed) {
		recorded = nil
	}
	return errors.Join(err, endRun(c.Context, st, run, recorded))
}

func checkTokenFlags(c *cli.Context) error {
	switch {
	case c.Args().Present():
		return usage("tokens takes no arguments; name the inventory with -i")
	case c.Bool("adopt") && c.Bool("prune"):
		return usage("--adopt and --prune exclude each other")
	case c.Bool("check") && c.Bool("apply"):
		return usage("--check and --apply exclude each other")
	case c.Bool("check") && c.Bool("adopt"):
		return usage("--check and --adopt exclude each other: adopting changes the records")
	case c.Bool("prune") && !c.Bool("diff") && !c.Bool("apply"):
		return usage("--prune needs --diff or --apply")
	}
	switch f := c.String("format"); f {
	case token.FormatTctl, token.FormatTerraform, token.FormatKubernetes:
		return nil
	default:
		return usage("--format %s: none of tctl, terraform, kubernetes", f)
	}
}

// wholeInventory loads every host of the inventory, --limit or not: tokens are of all hosts. None is named: none is
// needed, hosts keep what they have.
func (a *app) wholeInventory(c *cli.Context, cfg config.Config) ([]inventory.Host, error) {
	sources := c.StringSlice("inventory")
	if len(sources) == 0 && cfg.Inventory != "" {
		sources = []string{cfg.Inventory}
	}
	if len(sources) == 0 {
		return nil, nil
	}
	inv, err := inventory.Load(c.Context, sources, inventory.Options{Stdin: a.stdin})
	if err != nil {
		return nil, inputError(err)
	}
	hosts, err := inv.Select("all")
	if err != nil {
		return nil, inputError(err)
	}
	return hosts, nil
}

// tctl finds tctl; prompts of it reach the user.
func (a *app) tctl(c *cli.Context, cfg config.Config) (tctl.Tctl, error) {
	tctl, err := tctl.New(cfg)
	tctl.Stderr = a.stderr
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		tctl.Stdin = f
	}
	if c.Bool("verbose") {
		tctl.Logf = a.say
	}
	return tctl, err
}

// tokensRun is what a run of the command works with.
type tokensRun struct {
	cfg   config.Config
	hosts []inventory.Host
	tctl  tctl.Tctl
	st    store.Store
	run   int64
}

func (r tokensRun) options(c *cli.Context) token.Options {
	return token.Options{Inventory: r.hosts, Rebalance: c.Bool("rebalance"), Persist: !c.Bool("check")}
}

// makeTokens computes the tokens, then writes, compares or applies them.
func (a *app) makeTokens(c *cli.Context, p *printer, r tokensRun) error {
	set, err := token.Make(c.Context, r.st, r.cfg, r.options(c))
	if err != nil {
		return err
	}
	if c.Bool("adopt") {
		if set, err = a.adopt(c, r, set); err != nil {
			return err
		}
	}
	a.tellTokens(set)
	if err := a.outputTokens(c, p, r, set); err != nil {
		return err
	}
	if n := len(set.Refused); n > 0 {
		return fmt.Errorf("%d hosts with an identity got no rule%w", n, quiet{outcome.ErrHostsFailed})
	}
	return nil
}

func (a *app) outputTokens(c *cli.Context, p *printer, r tokensRun, set *token.Set) error {
	changed := 0
	if !c.Bool("check") {
		names, err := set.WriteAs(c.String("out"), c.String("format"))
		for _, name := range names {
			a.say("%s/%s changed", c.String("out"), name)
		}
		if err != nil {
			return err
		}
	} else if !c.Bool("diff") {
		names, err := set.Differs(c.String("out"), c.String("format"))
		if err != nil {
			return err
		}
		for _, name := range names {
			a.say("%s/%s would change", c.String("out"), name)
		}
		changed = len(names)
	}
	switch {
	case c.Bool("apply"):
		return a.applyTokens(c.Context, c, p, r, set)
	case c.Bool("diff"):
		return a.diffTokens(c, p, r, set)
	case changed > 0:
		return fmt.Errorf("%d files: %w", changed, outcome.ErrChanges)
	}
	return p.tokens(set)
}

// tellTokens says on stderr what deserves attention.
func (a *app) tellTokens(set *token.Set) {
	for _, r := range set.Refused {
		a.say("%s: %s: %s", r.Host, r.Code, r.Message)
		if r.Hint != "" {
			a.say("%s: hint: %s", r.Host, r.Hint)
		}
	}
	if n := len(set.Unproven); n > 0 {
		a.say("%d rules rest on identities that nobody has proven: %s", n, some(set.Unproven, 10))
	}
	if n := len(set.Moved); n > 0 {
		a.say("%d hosts change token and need a new tbot configuration (fleetctl enroll):", n)
		for _, m := range set.Moved {
			a.say("%s: %s → %s", m.Host, m.From, m.To)
		}
	}
}

// some lists the first names of many.
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

func (a *app) diffTokens(c *cli.Context, p *printer, r tokensRun, set *token.Set) error {
	d, err := set.Diff(c.Context, r.tctl, token.DiffOptions{Prune: c.Bool("prune")})
	if err != nil {
		return err
	}
	if err := p.tokenDiff(d); err != nil {
		return err
	}
	if d.Empty(c.Bool("overwrite-roles")) {
		a.say("the cluster has everything as it should be")
		return nil
	}
	if c.Bool("check") {
		return fmt.Errorf("the cluster: %w", outcome.ErrChanges)
	}
	return nil
}

func (a *app) applyTokens(ctx context.Context, c *cli.Context, p *printer, r tokensRun, set *token.Set) error {
	done, err := set.Apply(ctx, r.tctl, token.ApplyOptions{
		Prune: c.Bool("prune"), Roles: c.Bool("overwrite-roles"), Store: r.st,
	})
	perr := p.tokenDiff(done.Diff)
	for _, name := range done.Changed {
		a.say("applied %s", name)
	}
	for _, text := range done.Kept {
		a.say("%s (--overwrite-roles changes them)", text)
	}
	if err == nil && len(done.Changed) == 0 {
		a.say("the cluster has everything as it should be: nothing was applied")
	}
	return errors.Join(err, perr)
}

// adopt takes rules of the cluster that are not ours into the records, and makes the tokens again.
func (a *app) adopt(c *cli.Context, r tokensRun, set *token.Set) (*token.Set, error) {
	adopted, err := enroll.Adopt(c.Context, set, r.tctl, r.st, r.run)
	for _, h := range adopted.Hosts {
		a.say("%s: adopted from token %s, unproven", h.Host, h.Token)
	}
	for _, text := range adopted.Left {
		a.say("not adopted: %s", text)
	}
	if err != nil {
		return nil, err
	}
	return token.Make(c.Context, r.st, r.cfg, r.options(c))
}

// tokens lists the tokens of a set.
func (p *printer) tokens(set *token.Set) error {
	type row struct {
		Name  string `json:"name"`
		Kind  string `json:"kind"`
		Bot   string `json:"bot,omitempty"`
		Hosts int    `json:"hosts"`
		CAs   int    `json:"cas"`
	}
	rows := make([]row, len(set.Tokens))
	for i, t := range set.Tokens {
		rows[i] = row{t.Name, t.Kind, t.Bot, len(t.Rules), len(t.CAs)}
	}
	refused := set.Refused
	if refused == nil {
		refused = []token.Refusal{}
	}
	return p.write([]string{"TOKEN", "KIND", "BOT", "HOSTS", "CAS"}, len(rows), func(i int) (any, []string) {
		r := rows[i]
		return r, []string{r.Name, r.Kind, r.Bot, fmt.Sprint(r.Hosts), fmt.Sprint(r.CAs)}
	}, func() any {
		return struct {
			Tokens  []row             `json:"tokens"`
			Refused []token.Refusal   `json:"refused"`
			Hosts   map[string]string `json:"hosts"`
		}{rows, refused, set.Assignment()}
	})
}

// tokenDiff writes a difference: as text, or as one document.
func (p *printer) tokenDiff(d token.Diff) error {
	if p.format == "table" || p.format == "csv" {
		return d.WriteText(p.w)
	}
	return p.write(nil, len(d.Tokens), func(i int) (any, []string) { return d.Tokens[i], nil }, func() any { return d })
}
