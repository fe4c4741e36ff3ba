package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// line is a command line, taken apart.
type line struct {
	words []string // the program and its commands
	flags []string // with their values
	rest  []string // arguments; from "--" on all of them

	known    []cli.Flag     // flags of the innermost command, and those that may stand anywhere
	command  *cli.Command   // the innermost; nil: there is none
	commands []*cli.Command // of the innermost command
	open     cli.Flag       // the last flag, whose value is missing; nil: none is
}

// parseLine takes a command line apart: "-f my.yaml scan inventory.yaml --limit web" is what people type, and urfave/cli stops
// at the first argument. What follows "--" stays an argument.
func parseLine(app *cli.App, everywhere []cli.Flag, args []string) line {
	l := line{known: slices.Concat(app.Flags, everywhere), commands: app.Commands}
	if len(args) == 0 {
		return l
	}
	l.words = []string{args[0]}
	for args = args[1:]; len(args) > 0; {
		arg := args[0]
		args = args[1:]
		switch sub := find(l.commands, arg); {
		case arg == "--":
			l.rest = append(append(l.rest, arg), args...)
			return l
		case sub != nil && len(l.rest) == 0:
			l.words = append(l.words, arg)
			l.known, l.command, l.commands = slices.Concat(l.known, sub.Flags), sub, sub.Subcommands
		case len(arg) < 2 || arg[0] != '-':
			l.rest = append(l.rest, arg)
		case strings.Trim(arg[1:], "v") == "": // -vv is -v twice
			l.flags = append(l.flags, slices.Repeat([]string{"-v"}, len(arg)-1)...)
		default:
			args = l.flag(arg, args)
		}
	}
	return l
}

// flag takes a flag, with its value from the arguments behind it, and returns those that are left.
func (l *line) flag(arg string, args []string) []string {
	l.flags = append(l.flags, arg)
	f := takesValue(l.known, arg)
	switch {
	case f == nil:
		return args
	case len(args) == 0:
		l.open = f
		return args
	}
	l.flags = append(l.flags, args[0])
	return args[1:]
}

// innermost are the flags of the innermost command; without one, those that may stand before it.
func (l line) innermost(everywhere []cli.Flag) []cli.Flag {
	if l.command == nil {
		return everywhere
	}
	return l.command.Flags
}

// reordered has all flags behind the innermost command and before its arguments.
func (l line) reordered() []string { return slices.Concat(l.words, l.flags, l.rest) }

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// takesValue is the flag that the next argument belongs to; nil: to none.
func takesValue(known []cli.Flag, arg string) cli.Flag {
	f := flagOf(known, strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"))
	if _, isBool := f.(*cli.BoolFlag); isBool {
		return nil
	}
	return f // nil for an unknown one, and for --flag=value
}

// flagOf is the flag of a name; nil for none.
func flagOf(flags []cli.Flag, name string) cli.Flag {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	return flags[i]
}

// commandName is a command as it is typed; words are the program and its commands.
func commandName(words []string) string {
	return strings.Join(append([]string{"fleetctl"}, words[min(1, len(words)):]...), " ")
}
