package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// Help is made for terminals of 80 columns.
const (
	helpWidth = 80
	flagWidth = 28 // of a flag with its placeholder
)

// commandGroup is what belongs together on the first page of the help.
type commandGroup struct {
	title    string
	commands []*cli.Command
}

// flagGroup is what belongs together in the help of a command.
type flagGroup struct {
	title string
	flags []cli.Flag
}

// flagGroups are the flags of a command: first those that it has alone.
func (a *app) flagGroups(c *cli.Command) []flagGroup {
	shared := [][]cli.Flag{a.hostFlags(), a.fleetFlags(), a.connectFlags(), a.commonFlags()}
	groups := []flagGroup{{title: "Flags"}, {title: "Hosts"}, {title: "In place of fleet.yaml"}, {title: "Connection"}, {title: "General"}}
	for _, f := range c.Flags {
		if f.Names()[0] == "help" { // urfave/cli adds it to a command that runs
			continue
		}
		i := 1 + slices.IndexFunc(shared, func(flags []cli.Flag) bool { return flagOf(flags, f.Names()[0]) != nil })
		if i <= 2 && c.Name == "init" {
			i = 0 // its flags have the names of shared ones, and say what it writes
		}
		groups[i].flags = append(groups[i].flags, f)
	}
	return slices.DeleteFunc(groups, func(g flagGroup) bool { return len(g.flags) == 0 })
}

// helpOf is the help of a command; words are the program and its commands.
func (a *app) helpOf(words []string, c *cli.Command) string {
	var b strings.Builder
	name := commandName(words)
	b.WriteString(wrap(name+": "+c.Usage, 0))
	fmt.Fprintf(&b, "\nUsage: %s\n", synopsis(name, c))
	if c.Description != "" {
		b.WriteString("\n" + wrap(c.Description, 0))
	}
	if len(c.Subcommands) > 0 {
		b.WriteString("\nCommands:\n" + commandList(c.Subcommands))
	}
	b.WriteString("\nExamples:\n")
	for _, e := range examples[strings.Join(words[1:], " ")] {
		fmt.Fprintf(&b, "  %s\n%s", e.line, wrap(e.does, 6))
	}
	for _, g := range a.flagGroups(c) {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		for _, f := range g.flags {
			b.WriteString(flagHelp(f))
		}
	}
	return b.String()
}

func synopsis(name string, c *cli.Command) string {
	if len(c.Subcommands) > 0 {
		name += " [COMMAND]"
	}
	if len(c.Flags) > 0 {
		name += " [flags]"
	}
	return strings.TrimSpace(name + " " + c.ArgsUsage)
}

// mainHelp is the help of the program.
func mainHelp(groups []commandGroup) string {
	var b strings.Builder
	b.WriteString("fleetctl enrolls a fleet of Linux hosts in a Teleport cluster, with the tpm join\nmethod.\n\n" +
		"Usage: fleetctl COMMAND [flags] [arguments]\n")
	for _, g := range groups {
		fmt.Fprintf(&b, "\n%s:\n%s", g.title, commandList(g.commands))
	}
	b.WriteString("\n\"fleetctl help COMMAND\" says more of a command: its flags, and examples.\n\n" +
		"Exit codes: 0 all well; 1 error; 2 usage or bad input; 3 some hosts failed;\n4 --check found changes to make; 130 interrupted.\n")
	return b.String()
}

func commandList(commands []*cli.Command) string {
	var b strings.Builder
	for _, c := range commands {
		if !c.Hidden {
			b.WriteString(item(c.Name, c.Usage, 18))
		}
	}
	return b.String()
}

// flagHelp is a flag in the help.
func flagHelp(f cli.Flag) string {
	term, text := flagTerm(f)
	return item(term, text, flagWidth)
}

// flagTerm is a flag with its names and its placeholder, and what it does with its default.
func flagTerm(f cli.Flag) (term, text string) {
	names := make([]string, 0, 2)
	for _, n := range f.Names() {
		names = append(names, dashed(n))
	}
	placeholder, text := flagWords(f)
	if d := defaultOf(f); d != "" {
		text += " (default: " + d + ")"
	}
	return strings.TrimSpace(strings.Join(names, ", ") + " " + placeholder), text
}

// flagWords are the placeholder of a flag's value, and what the flag does; a flag without a value has no placeholder.
func flagWords(f cli.Flag) (placeholder, text string) {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "", ""
	}
	placeholder, text = unquoteUsage(d.GetUsage())
	switch f.(type) {
	case *cli.BoolFlag:
		return "", text
	case *cli.DurationFlag:
		if placeholder == "" {
			placeholder = "TIME"
		}
	case *cli.IntFlag, *cli.Int64Flag:
		if placeholder == "" {
			placeholder = "N"
		}
	}
	if placeholder == "" {
		placeholder = "WORD"
	}
	return placeholder, text
}

// defaultOf is what a flag is without being said; "" for nothing worth a word.
func defaultOf(f cli.Flag) string {
	switch f := f.(type) {
	case *cli.StringFlag:
		return f.Value
	case *cli.DurationFlag:
		if f.Value > 0 {
			return strings.TrimSuffix(f.Value.String(), "0s")
		}
	case *cli.IntFlag:
		if f.Value != 0 {
			return fmt.Sprint(f.Value)
		}
	case *cli.BoolFlag:
		if f.Value {
			return "on; --" + f.Name + "=false turns it off"
		}
	}
	return ""
}

// item is a term with a text beside it, which begins in that column; or below it, when the term is too long.
func item(term, text string, column int) string {
	lines := wrap(text, column)
	if utf8.RuneCountInString(term)+4 > column {
		return "  " + term + "\n" + lines
	}
	return "  " + term + strings.Repeat(" ", column-2-utf8.RuneCountInString(term)) + strings.TrimLeft(lines, " ")
}

// wrap breaks a text into lines with an indent. Single line breaks are blanks, empty lines stay.
func wrap(text string, indent int) string {
	var b strings.Builder
	margin := strings.Repeat(" ", indent)
	width := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case width == 0:
			b.WriteString(margin + word)
			width = indent + n
		case width+1+n > helpWidth:
			b.WriteString("\n" + margin + word)
			width = indent + n
		default:
			b.WriteString(" " + word)
			width += 1 + n
		}
	}
	if width > 0 {
		b.WriteString("\n")
	}
	return b.String()
}

// literal is a text as a template that yields it: urfave/cli prints help by templates.
func literal(text string) string { return strings.ReplaceAll(text, "{{", `{{"{{"}}`) }

// setHelp gives every command its help.
func (a *app) setHelp(words []string, commands []*cli.Command) {
	for _, c := range commands {
		path := append(slices.Clone(words), c.Name)
		a.setHelp(path, c.Subcommands)
		c.CustomHelpTemplate = literal(a.helpOf(path, c))
		c.OnUsageError = usageError
		c.HideHelpCommand = len(c.Subcommands) == 0 // else an argument "help" would be one
	}
}

func (a *app) helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "say how a command is used, with examples",
		ArgsUsage: "[COMMAND [SUBCOMMAND]]",
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return cli.ShowAppHelp(c)
			}
			text, err := a.helpFor(c.App.Commands, c.Args().Slice())
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, text)
			return err
		},
	}
}

// helpFor is the help of the command that the words lead to.
func (a *app) helpFor(commands []*cli.Command, words []string) (string, error) {
	path, what := []string{"fleetctl"}, "command"
	var c *cli.Command
	for _, word := range words {
		if c = find(commands, word); c == nil {
			return "", noSuch(what, word, commands)
		}
		path, commands, what = append(path, c.Name), c.Subcommands, "command of "+c.Name
	}
	return a.helpOf(path, c), nil
}
