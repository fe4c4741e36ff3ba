package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll/outcome"
)

// usageErr is an error of the command line itself.
type usageErr struct {
	msg  string
	hint string // "": the help of the command
}

func (e *usageErr) Error() string { return e.msg }

// usage makes one.
func usage(format string, args ...any) error {
	return &usageErr{msg: fmt.Sprintf(format, args...)}
}

// noSuch is a command that there is not, with the one that was probably meant.
func noSuch(what, word string, commands []*cli.Command) error {
	e := &usageErr{msg: fmt.Sprintf("there is no %s %q", what, word)}
	var names, below []string
	for _, c := range commands {
		if c.Hidden {
			continue
		}
		names = append(names, c.Names()...)
		for _, s := range c.Subcommands {
			if s.HasName(word) && !s.Hidden {
				below = append(below, c.Name+" "+s.Name)
			}
		}
	}
	if near := cmp.Or(strings.Join(below, `" or "`), outcome.Nearest(word, names)); near != "" {
		e.hint = `did you mean "` + near + `"?`
	}
	return e
}

// How the flag package and urfave/cli say what is wrong with flags (flag.FlagSet.parseOne, cli.normalizeFlags).
var (
	unknownFlag = regexp.MustCompile(`^flag provided but not defined: -(.*)$`)
	noValue     = regexp.MustCompile(`^flag needs an argument: -(.*)$`)
	badValue    = regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-([^:]*): .*$`)
	badSyntax   = regexp.MustCompile(`^bad flag syntax: (.*)$`)
	bothForms   = regexp.MustCompile(`^Cannot use two forms of the same flag: (\S+) (\S+)$`)
)

// usageError says what is wrong with a flag in the words of whoever typed it.
func usageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if m := unknownFlag.FindStringSubmatch(text); m != nil {
		return noSuchFlag(c.Command.Flags, m[1])
	}
	if m := noValue.FindStringSubmatch(text); m != nil {
		return needsValue(flagOf(c.Command.Flags, m[1]), dashed(m[1]))
	}
	if m := badValue.FindStringSubmatch(text); m != nil {
		return badFlagValue(flagOf(c.Command.Flags, m[2]), dashed(m[2]), m[1])
	}
	if m := badSyntax.FindStringSubmatch(text); m != nil {
		return usage("%s is no flag", m[1])
	}
	if m := bothForms.FindStringSubmatch(text); m != nil {
		return usage("%s and %s are the same flag: give one of them", dashed(m[1]), dashed(m[2]))
	}
	return usage("%s", text)
}

// noSuchFlag names the flag that was probably meant.
func noSuchFlag(flags []cli.Flag, word string) error {
	e := &usageErr{msg: "there is no flag " + dashed(word)}
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()[0])
	}
	if near := outcome.Nearest(word, names); near != "" {
		e.hint = "did you mean " + dashed(near) + "?"
	}
	return e
}

// badFlagValue says what a flag takes; quoted is what it was given, as Go quotes it.
func badFlagValue(f cli.Flag, name, quoted string) error {
	value := strings.Trim(quoted, `"`)
	switch f.(type) {
	case *cli.DurationFlag:
		if strings.Trim(value, "0123456789") == "" && value != "" {
			return &usageErr{msg: fmt.Sprintf("%s %s: a time needs a unit", name, value), hint: fmt.Sprintf("did you mean %ss?", value)}
		}
		return usage("%s %s: not a time like 30s, 5m or 1h", name, quoted)
	case *cli.IntFlag, *cli.Int64Flag:
		return usage("%s %s: not a whole number", name, quoted)
	case *cli.BoolFlag:
		return usage("%s=%s: neither true nor false", name, value)
	}
	return usage("%s does not take %s", name, quoted)
}

// needsValue is a flag, as it was typed, without its value.
func needsValue(f cli.Flag, typed string) error {
	if d, ok := f.(cli.DocGenerationFlag); ok {
		if placeholder, _ := unquoteUsage(d.GetUsage()); placeholder != "" {
			return usage("%s needs a value: %s %s", typed, dashed(f.Names()[0]), placeholder)
		}
	}
	return usage("%s needs a value", typed)
}

// dashed is a flag as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// unquoteUsage takes the placeholder out of a flag's usage, which has it in back quotes; "" for none.
func unquoteUsage(usage string) (placeholder, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	placeholder, after, _ := strings.Cut(rest, "`")
	return placeholder, before + placeholder + after
}
