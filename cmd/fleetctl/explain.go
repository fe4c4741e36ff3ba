package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll/outcome"
)

func (a *app) explainCommand() *cli.Command {
	return &cli.Command{
		Name:        "explain",
		Usage:       "say what a status means and what to do about it",
		ArgsUsage:   "[STATUS…]",
		Description: "Without a status: all of them. The same stands in docs/statuses.md.",
		Flags:       a.commonFlags(),
		Action:      a.explain,
	}
}

// explanation is a code with what the command line adds to it.
type explanation struct {
	outcome.Meaning
	With string `json:"with,omitempty"` // flags and commands that do it
}

func explanations() []explanation {
	all := make([]explanation, 0, len(outcome.Codes()))
	for _, m := range outcome.Codes() {
		e := explanation{Meaning: m, With: advice[m.Code]}
		if strings.Contains(m.Do, e.With) {
			e.With = "" // it would say the same twice
		}
		all = append(all, e)
	}
	return all
}

func (a *app) explain(c *cli.Context) error {
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	chosen := explanations()
	if c.Args().Present() {
		if chosen, err = chooseCodes(chosen, c.Args().Slice()); err != nil {
			return err
		}
	}
	if p.format == "table" && c.Args().Present() {
		return p.explain(chosen)
	}
	header := []string{"STATUS", "OF", "SEVERITY", "MEANS", "DO"}
	return write(p, statusesShape, nothing{}, header, chosen, func(e explanation) []string {
		return []string{string(e.Code), string(e.Of), string(e.Severity), e.Means, e.do()}
	})
}

// chooseCodes finds codes by their words.
func chooseCodes(all []explanation, words []string) ([]explanation, error) {
	var chosen []explanation
	for _, word := range words {
		found := false
		for _, e := range all {
			if string(e.Code) == word {
				chosen, found = append(chosen, e), true
			}
		}
		if !found {
			return nil, &outcome.InputError{Msg: fmt.Sprintf("there is no status %q", word),
				Hint: "\"fleetctl explain\" lists all of them"}
		}
	}
	return chosen, nil
}

// do is what to do, with what the command line adds.
func (e explanation) do() string {
	var parts []string
	for _, s := range []string{e.Do, e.With} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "; ")
}

// explain writes a paragraph a code.
func (p *printer) explain(chosen []explanation) error {
	for i, e := range chosen {
		if i > 0 {
			fmt.Fprintln(p.w)
		}
		if _, err := fmt.Fprintf(p.w, "%s (%s, %s)\n  %s\n", e.Code, e.Of, e.Severity, e.Means); err != nil {
			return err
		}
		for _, s := range []string{e.Do, e.With} {
			if s != "" {
				fmt.Fprintf(p.w, "  → %s\n", s)
			}
		}
	}
	return nil
}
