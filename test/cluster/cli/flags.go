package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Flag is a flag of a command.
type Flag struct {
	Name     string // long, without hyphens
	Short    byte   // 0 for none
	Bool     bool   // takes no value; --no-NAME is false
	Repeats  bool
	Unplayed bool // the program knows it, and the stand-in does not play it
}

// Command says which flags a command of a version takes.
type Command struct {
	Name  string // "tbot start"
	Flags []Flag
	Args  int // how many arguments besides flags
}

// Misuse is a command line that the program does not understand. Its usage text is printed before the error (versions.md,
// A: main.go@88a83600; sample journal-flag.txt).
type Misuse struct {
	Usage string
	Text  string
}

func (m *Misuse) Error() string { return m.Text }

// misuse makes the error of a command.
func (c Command) misuse(format string, args ...any) error {
	usage := "Usage: " + c.Name + " [<flags>]\n\nFlags:\n"
	for _, f := range c.Flags {
		short := "    "
		if f.Short != 0 {
			short = "-" + string(f.Short) + ", "
		}
		usage += "  " + short + "--" + f.Name + "\n"
	}
	return &Misuse{Usage: usage, Text: fmt.Sprintf(format, args...)}
}

// Given are the flags that were given, by long name, and the arguments between them.
type Given struct {
	flags map[string][]string
	Args  []string
}

// Parse reads a command line as kingpin does: flags may stand before, between and behind arguments, as --name value,
// --name=value, -n value or -nvalue. Its texts are kingpin's.
func (c Command) Parse(args []string) (Given, error) {
	g := Given{flags: map[string][]string{}}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		var err error
		switch {
		case word == "--":
			g.Args, args = append(g.Args, args...), nil
		case strings.HasPrefix(word, "--"):
			args, err = c.long(g, strings.TrimPrefix(word, "--"), args)
		case strings.HasPrefix(word, "-") && word != "-":
			args, err = c.short(g, word[1:], args)
		default:
			g.Args = append(g.Args, word)
		}
		if err != nil {
			return g, err
		}
	}
	if len(g.Args) > c.Args {
		return g, c.misuse("unexpected %s", g.Args[c.Args])
	}
	return g, nil
}

func (c Command) long(g Given, word string, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(word, "=")
	if name == "help" {
		return nil, Unscripted("%s --help", c.Name)
	}
	for _, f := range c.Flags {
		if f.Name == name {
			return c.set(g, f, value, hasValue, rest)
		}
		if f.Bool && "no-"+f.Name == name {
			return c.set(g, f, "false", true, rest)
		}
	}
	return nil, c.misuse("unknown long flag '--%s'", name)
}

func (c Command) short(g Given, letters string, rest []string) ([]string, error) {
	for _, f := range c.Flags {
		if f.Short != letters[0] {
			continue
		}
		value := letters[1:]
		if !f.Bool || value == "" {
			return c.set(g, f, value, value != "", rest)
		}
		if _, err := c.set(g, f, "", false, nil); err != nil {
			return nil, err
		}
		return c.short(g, value, rest)
	}
	return nil, c.misuse("unknown short flag '-%c'", letters[0])
}

func (c Command) set(g Given, f Flag, value string, hasValue bool, rest []string) ([]string, error) {
	switch {
	case f.Unplayed:
		return nil, Unscripted("%s --%s", c.Name, f.Name)
	case f.Bool && !hasValue:
		value = "true"
	case !hasValue && len(rest) == 0:
		return nil, c.misuse("expected argument for flag '--%s'", f.Name)
	case !hasValue:
		value, rest = rest[0], rest[1:]
	}
	if len(g.flags[f.Name]) > 0 && !f.Repeats {
		return nil, c.misuse("flag '%s' cannot be repeated", f.Name)
	}
	g.flags[f.Name] = append(g.flags[f.Name], value)
	return rest, nil
}

// Text is the value of a flag; "" when it was not given.
func (g Given) Text(name string) string {
	if values := g.flags[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// Has says whether a flag was given.
func (g Given) Has(name string) bool { return len(g.flags[name]) > 0 }

// True is the value of a flag that takes none.
func (g Given) True(name string) bool {
	v, err := strconv.ParseBool(g.Text(name))
	return err == nil && v
}

// Duration is the value of a flag like 90s; 0 when it was not given.
func (g Given) Duration(name string) (time.Duration, error) {
	if !g.Has(name) {
		return 0, nil
	}
	return time.ParseDuration(g.Text(name))
}
