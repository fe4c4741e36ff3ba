package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves all flags behind the innermost command and before its arguments: "-f my.yaml scan inventory.yaml
// --limit web" is what people type, and urfave/cli stops at the first argument. What follows "--" stays an argument.
func reorder(app *cli.App, everywhere []cli.Flag, args []string) []string {
	if len(args) == 0 {
		return args
	}
	known, commands := slices.Concat(app.Flags, everywhere), app.Commands
	words := []string{args[0]} // the program and its commands
	var flags, rest []string
	for args = args[1:]; len(args) > 0; {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			rest = append(append(rest, arg), args...)
			break
		}
		if sub := find(commands, arg); sub != nil && len(rest) == 0 {
			words = append(words, arg)
			known, commands = slices.Concat(known, sub.Flags), sub.Subcommands
			continue
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		if strings.Trim(arg[1:], "v") == "" { // -vv is -v twice
			flags = append(flags, slices.Repeat([]string{"-v"}, len(arg)-1)...)
			continue
		}
		flags = append(flags, arg)
		if len(args) > 0 && takesValue(known, arg) {
			flags = append(flags, args[0])
			args = args[1:]
		}
	}
	return slices.Concat(words, flags, rest)
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// takesValue says whether the next argument belongs to this flag.
func takesValue(known []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	i := slices.IndexFunc(known, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return false // unknown, or --flag=value
	}
	_, isBool := known[i].(*cli.BoolFlag)
	return !isBool
}
