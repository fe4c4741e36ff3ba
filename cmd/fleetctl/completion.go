package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/config"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/remote"
)

// The scripts ask "fleetctl __complete" for what may stand at the cursor.
var (
	//go:embed completion/fleetctl.bash
	completionBash string
	//go:embed completion/fleetctl.zsh
	completionZsh string
	//go:embed completion/fleetctl.fish
	completionFish string
)

// shells are those that there is completion for.
var shells = []string{"bash", "zsh", "fish"}

func (a *app) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion for a shell",
		ArgsUsage: strings.Join(shells, "|"),
		Description: "It completes commands, flags and their values, and the hosts and groups of the inventory that the command " +
			"line names.",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 || !slices.Contains(shells, c.Args().First()) {
				return usage("completion for which shell? One of %s", strings.Join(shells, ", "))
			}
			script := map[string]string{"bash": completionBash, "zsh": completionZsh, "fish": completionFish}[c.Args().First()]
			_, err := io.WriteString(a.stdout, script)
			return err
		},
	}
}

// completeCommand is what the scripts call with the words of the command line up to the cursor. It prints a candidate a line, with
// a tab before what it means; or filesWord.
func (a *app) completeCommand() *cli.Command {
	return &cli.Command{
		Name: "__complete", Usage: "for the scripts of completion", ArgsUsage: "-- WORD…", Hidden: true,
		Action: func(c *cli.Context) error {
			for _, k := range a.complete(c.Context, c.Args().Slice()) {
				if strings.ContainsFunc(k.text, func(r rune) bool { return r <= ' ' }) {
					continue // shells would take it for several
				}
				fmt.Fprintf(a.stdout, "%s\t%s\n", k.text, remote.Clean(k.means))
			}
			return nil
		},
	}
}

// candidate is a word that may stand at the cursor.
type candidate struct{ text, means string }

// filesWord says that files may stand there: shells know them better.
const filesWord = ":files"

// completionLimit is how long somebody waits who has pressed a key.
const completionLimit = 3 * time.Second

// complete is what may stand in the place of the last word.
func (a *app) complete(ctx context.Context, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	before, word := words[:len(words)-1], words[len(words)-1]
	program := a.command()
	l := parseLine(program, a.everywhere(), append([]string{"fleetctl"}, before...))
	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	at := completion{app: a, line: l, word: word}
	flag, value, isValue := strings.Cut(word, "=")
	switch {
	case l.open != nil:
		return matching(at.values(ctx, l.open.Names()[0]), word, "")
	case isValue && strings.HasPrefix(word, "-"):
		at.word = value
		if f := takesValue(l.known, flag); f != nil {
			return matching(at.values(ctx, f.Names()[0]), value, flag+"=")
		}
		return nil
	case strings.HasPrefix(word, "-"):
		return matching(flagCandidates(l.innermost(a.everywhere())), word, "")
	case len(l.commands) > 0 && len(l.rest) == 0:
		return matching(commandCandidates(l.commands), word, "")
	}
	return matching(at.arguments(ctx, program), word, "")
}

// matching are the candidates that begin with a word, each behind a head that the shell takes for a part of it.
func matching(all []candidate, word, head string) (fit []candidate) {
	for _, k := range all {
		if k.text == filesWord || strings.HasPrefix(k.text, word) {
			if k.text != filesWord {
				k.text = head + k.text
			}
			fit = append(fit, k)
		}
	}
	return fit
}

func flagCandidates(flags []cli.Flag) (all []candidate) {
	for _, f := range flags {
		_, text := flagWords(f)
		for _, n := range f.Names() {
			all = append(all, candidate{dashed(n), text})
		}
	}
	return append(all, candidate{"--help", "say how it is used"})
}

func commandCandidates(commands []*cli.Command) (all []candidate) {
	for _, c := range commands {
		if !c.Hidden {
			all = append(all, candidate{c.Name, c.Usage})
		}
	}
	return all
}

// completion is a place on a command line.
type completion struct {
	app  *app
	line line
	word string
}

func words(texts ...string) []candidate {
	all := make([]candidate, len(texts))
	for i, t := range texts {
		all[i].text = t
	}
	return all
}

// flagValues are the values of flags that have a few.
var flagValues = map[string][]candidate{
	"output":            words("table", "wide", "json", "jsonl", "yaml", "csv"),
	"identify-with":     words(scan.ViaHelper, scan.ViaShell, scan.ViaTbot),
	"format":            words(token.FormatTctl, token.FormatTerraform, token.FormatKubernetes),
	"host-key-checking": words("strict", "accept-new", "off"),
	"become-method":     words("sudo", "doas", "su"),
	"forks":             words("ansible"),
}

// values are what a flag may have.
func (p completion) values(ctx context.Context, flag string) []candidate {
	switch flag {
	case "limit":
		return p.patterns(ctx)
	case "host", "contract":
		return p.hosts(ctx, false)
	case "file", "db", "inventory", "private-key", "become-password-file", "vault-password-file", "ssh-config", "out", "templates",
		"plan", "bundle", "fingerprints":
		return words(filesWord)
	}
	return flagValues[flag]
}

// arguments are what may stand behind the command.
func (p completion) arguments(ctx context.Context, program *cli.App) []candidate {
	switch name := strings.Join(p.line.words[1:], " "); name {
	case "explain":
		var all []candidate
		for _, e := range explanations() {
			all = append(all, candidate{string(e.Code), e.Means})
		}
		return all
	case "help":
		commands := program.Commands
		for _, w := range p.line.rest {
			if c := find(commands, w); c != nil {
				commands = c.Subcommands
			}
		}
		return commandCandidates(commands)
	case "completion":
		return words(shells...)
	case "remove":
		return p.hosts(ctx, true)
	case "records history", "records accept", "records forget", "records rename", "records disable", "records enable", "records readmit",
		"records log":
		return p.recorded(ctx)
	case "init", "doctor", "inventory", "known-hosts", "scan", "tokens", "enroll", "status", "support-bundle", "man", "records import",
		"records backup":
		return words(filesWord)
	}
	return nil
}

// patterns are hosts and groups at the end of a pattern: "web:!" goes on with one.
func (p completion) patterns(ctx context.Context) []candidate {
	head := p.word[:strings.LastIndexAny(p.word, ":,!&")+1]
	all := append(p.hosts(ctx, true), candidate{"all", "every host"})
	for i := range all {
		all[i].text = head + all[i].text
	}
	return all
}

// hosts are those of the inventory that the command line names, and its groups.
func (p completion) hosts(ctx context.Context, groups bool) (all []candidate) {
	p.with(ctx, func(c *cli.Context, quiet *app) {
		f := enroll.Fleet{Config: config.Default()}
		if cfg, err := quiet.config(c, false); err == nil {
			f.Config = cfg
		}
		if quiet.readInventory(c, &f, false) != nil {
			return // there is nothing to offer
		}
		for _, h := range f.Inventory {
			all = append(all, candidate{h.Name, strings.Join(h.Groups, ", ")})
		}
		if groups {
			for _, g := range f.Groups {
				all = append(all, candidate{g, "a group"})
			}
		}
	})
	return all
}

// recorded are the hosts of the records.
func (p completion) recorded(ctx context.Context) (all []candidate) {
	p.with(ctx, func(c *cli.Context, _ *app) {
		names, err := store.HostNames(c.Context, c.String("db"))
		if err != nil {
			return // there is nothing to offer
		}
		all = words(names...)
	})
	return all
}

// with calls fn with what the flags of the command line say that name files. Nothing is said, asked, or run.
func (p completion) with(ctx context.Context, fn func(c *cli.Context, quiet *app)) {
	quiet := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	program := quiet.command()
	program.Commands, program.HideVersion = nil, true
	program.Flags = slices.Concat(quiet.commonFlags(), quiet.hostFlags())
	program.Action = func(c *cli.Context) error {
		fn(c, quiet)
		return nil
	}
	args := append([]string{"fleetctl", "--no-ansible", "--ignore-vault"}, p.line.fileFlags()...)
	_ = program.RunContext(ctx, args) // else nothing is offered
}

// fileFlags are the flags of a command line that name the files that hosts stand in.
func (l line) fileFlags() (flags []string) {
	for i := 0; i < len(l.flags); i++ {
		name, _, joined := strings.Cut(strings.TrimLeft(l.flags[i], "-"), "=")
		f := flagOf(l.known, name)
		if f == nil || !slices.Contains([]string{"file", "db", "inventory"}, f.Names()[0]) {
			continue
		}
		flags = append(flags, l.flags[i])
		if !joined && i+1 < len(l.flags) {
			i++
			flags = append(flags, l.flags[i])
		}
	}
	return flags
}
