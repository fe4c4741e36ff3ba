package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll/token"
)

func (a *app) manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "write a man page a command", ArgsUsage: "DIR", Hidden: true,
		Description: "The pages are made of what help says: fleetctl.1, fleetctl-scan.1 and so on.",
		Action:      a.man,
	}
}

func (a *app) man(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage("man into which directory?")
	}
	dir := c.Args().First()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages := a.manPages(c.App)
	for name, page := range pages {
		if err := token.WriteFile(filepath.Join(dir, name), []byte(page)); err != nil {
			return err
		}
	}
	a.say("wrote %d pages into %s", len(pages), dir)
	return nil
}

// manPages are the pages by file: the program's, and one for each command that is not hidden.
func (a *app) manPages(program *cli.App) map[string]string {
	pages := map[string]string{"fleetctl.1": a.mainPage()}
	var add func(words []string, commands []*cli.Command)
	add = func(words []string, commands []*cli.Command) {
		for _, c := range commands {
			if path := append(slices.Clone(words), c.Name); !c.Hidden && c.Name != "help" {
				pages[strings.Join(path, "-")+".1"] = a.commandPage(path, c)
				add(path, c.Subcommands)
			}
		}
	}
	add([]string{"fleetctl"}, program.Commands)
	return pages
}

// roff is a man page as it grows: man(7).
type roff struct{ strings.Builder }

// text writes a paragraph.
func (r *roff) text(s string) { r.WriteString(escapeRoff(s) + "\n") }

// escapeRoff is a text in which nothing is a request: a line that begins with a dot or a quote would be one. A hyphen would be typeset
// as another character than people type.
func escapeRoff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...").Replace(strings.Join(strings.Fields(s), " "))
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func (r *roff) section(title string) { fmt.Fprintf(r, ".SH %q\n", strings.ToUpper(title)) }

// item is a term with a text beside it.
func (r *roff) item(term, text string) {
	r.WriteString(".TP\n.B ")
	r.text(term)
	r.text(text)
}

// begin begins a page of section 1.
func (r *roff) begin(name, does string) {
	fmt.Fprintf(r, ".TH %q 1 \"\" %q\n", strings.ToUpper(name), "fleetctl "+version)
	r.section("Name")
	r.WriteString(escapeRoff(name) + ` \- ` + escapeRoff(does) + "\n")
}

func (a *app) mainPage() string {
	var r roff
	r.begin("fleetctl", "enroll a fleet of Linux hosts in a Teleport cluster with the tpm join method")
	r.section("Synopsis")
	r.text("fleetctl COMMAND [flags] [arguments]")
	for _, g := range a.groups() {
		r.section(g.title)
		for _, c := range g.commands {
			if !c.Hidden {
				r.item("fleetctl "+c.Name, c.Usage)
			}
		}
	}
	r.section("Exit status")
	for _, e := range [...][2]string{
		{"0", "all well"}, {"1", "error"}, {"2", "usage or bad input, or something that nobody has confirmed"},
		{"3", "some hosts failed, or the cluster was not as it was left"}, {"4", "--check found changes to make"}, {"130", "interrupted"},
	} {
		r.item(e[0], e[1])
	}
	return r.String()
}

// commandPage is a page of what helpOf says.
func (a *app) commandPage(words []string, c *cli.Command) string {
	var r roff
	r.begin(strings.Join(words, "-"), c.Usage)
	r.section("Synopsis")
	r.text(synopsis(commandName(words), c))
	if c.Description != "" {
		r.section("Description")
		r.text(c.Description)
	}
	if len(c.Subcommands) > 0 {
		r.section("Commands")
		for _, sub := range c.Subcommands {
			r.item(sub.Name, sub.Usage)
		}
	}
	for _, g := range a.flagGroups(c) {
		r.section(g.title)
		for _, f := range g.flags {
			term, text := flagTerm(f)
			r.item(term, text)
		}
	}
	r.section("Examples")
	for _, e := range examples[strings.Join(words[1:], " ")] {
		r.item(e.line, e.does)
	}
	r.section("See also")
	r.text("fleetctl(1)")
	return r.String()
}
