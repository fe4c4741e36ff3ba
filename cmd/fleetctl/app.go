package main

import (
	"context"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll/halt"
	"fleetctl/enroll/tctl"
	"fleetctl/inventory/ansiblecfg"
)

// version is set by the build (-ldflags -X main.version=…).
var version = "dev"

// app is one run of the command line: where it reads and writes. The contract: results go to stdout; everything else
// goes to stderr, prefixed, in lower case, without a full stop; an error is followed by a hint that says what to do.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	line           *screen.Line            // stderr, where it is a terminal that can draw a line anew; else nil
	columns        func() int              // how wide the terminal of stderr is
	saying         screen.Style            // of stderr
	showing        screen.Style            // of stdout
	watching       atomic.Pointer[console] // who hears how the use case gets on; nil: nobody yet
	log            *logFile                // of --log-file; nil: none
	terminal       bool                    // stderr is one
	interactive    bool                    // stdin and stderr are: somebody can be asked
	halt           *halt.Halt              // nil: nothing interrupts it
	secrets        map[string]string       // of the environment, by variable
	helpers        fs.FS                   // identify-linux-ARCH.gz
	tctl           tctl.Runner             // in place of the program; nil: the program of fleet.yaml
	args           []string                // the command line, with the program's name
	words          []string                // of it, the program's name and its commands
	ansible        *ansiblecfg.Config      // what Ansible's settings say, once they were read
	verbose        int                     // how often -v was said
	canResume      atomic.Bool             // a run of this command that was interrupted goes on with --resume
}

// run runs one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	c := a.command()
	a.args = args
	line := parseLine(c, a.everywhere(), args)
	a.words = line.words
	if line.open != nil { // it would take an argument for its value
		return a.exit(ctx, needsValue(line.open, line.flags[len(line.flags)-1]))
	}
	err := c.RunContext(ctx, line.reordered())
	return a.endLog(a.exit(ctx, err), err)
}

// everywhere are flags that may stand before the command, too.
func (a *app) everywhere() []cli.Flag {
	return slices.Concat(a.commonFlags(), a.fleetFlags(), a.hostFlags(), a.connectFlags())
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// command is the whole command line.
func (a *app) command() *cli.App {
	groups := a.groups()
	var commands []*cli.Command
	for _, g := range groups {
		commands = append(commands, g.commands...)
	}
	a.setHelp([]string{"fleetctl"}, commands)
	return &cli.App{
		Name:                      "fleetctl",
		Usage:                     "enroll a fleet of Linux hosts in a Teleport cluster with the tpm join method",
		Version:                   version,
		HideHelpCommand:           true,
		Flags:                     []cli.Flag{cli.HelpFlag},
		Reader:                    a.stdin,
		Writer:                    a.stdout,
		ErrWriter:                 a.stderr,
		ExitErrHandler:            func(*cli.Context, error) {}, // exit codes are made in one place: exit
		OnUsageError:              usageError,
		CommandNotFound:           nil,
		DisableSliceFlagSeparator: true, // -i a,b is one source
		Action:                    a.noCommand,
		Commands:                  commands,
		CustomAppHelpTemplate:     literal(mainHelp(groups)),
	}
}

// groups are the commands, in the order in which they are used first.
func (a *app) groups() []commandGroup {
	return []commandGroup{
		{"Begin", []*cli.Command{a.initCommand(), a.doctorCommand(), a.inventoryCommand(), a.knownHostsCommand()}},
		{"Work on the fleet", []*cli.Command{a.scanCommand(), a.tokensCommand(), a.enrollCommand(), a.removeCommand()}},
		{"Look", []*cli.Command{a.statusCommand(), a.reportCommand(), a.explainCommand(), a.supportCommand()}},
		{"Records", []*cli.Command{a.recordsCommand()}},
		{"Help", []*cli.Command{a.helpCommand(), a.versionCommand(), a.completionCommand(), a.manCommand(), a.completeCommand()}},
	}
}

// resumes notes that the command can go on where it was interrupted.
func (a *app) resumes(*cli.Context) error {
	a.canResume.Store(true)
	return nil
}

func (a *app) noCommand(c *cli.Context) error {
	if c.Args().Present() {
		return noSuch("command", c.Args().First(), c.App.Commands)
	}
	return cli.ShowAppHelp(c)
}

// Flags that every command about hosts takes.
func (a *app) commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Value: "fleet.yaml", Usage: "the fleet `FILE`"},
		&cli.StringFlag{Name: "db", Value: "fleet.db", Usage: "the records' `FILE`"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table",
			Usage: "table, wide (a table of everything), json, jsonl, yaml or csv"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Count: &a.verbose,
			Usage: "say on stderr what is done, and how each host is reached; -vv says more"},
		&cli.BoolFlag{Name: "no-progress", Usage: "don't say how far it is"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say on stderr only what is not as it should be"},
		&cli.StringFlag{Name: "reason", Usage: "why: `TEXT` for the records of runs and of what was changed"},
		&cli.DurationFlag{Name: "wait", Usage: "wait so long for another run on the same records to end"},
	}
}

// Flags that say which hosts.
func (a *app) hostFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "inventory", Aliases: []string{"i"},
			Usage: "an inventory `SOURCE` (file, directory, program, host list or -); again for more, the last wins"},
		&cli.StringFlag{Name: "limit", Aliases: []string{"l"}, Usage: "only hosts that match this `PATTERN`"},
	}, a.ansibleFlags()...)
}

// Flags that say how to reach hosts.
func (a *app) connectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "forks",
			Usage: "work on `N` hosts at once (default: rollout.forks, else 50); ansible: as many as Ansible's settings say"},
		&cli.DurationFlag{Name: "timeout", Value: 3 * time.Minute, Usage: "for one host, all in all"},
		&cli.DurationFlag{Name: "connect-timeout", Usage: "for one TCP connection (default: ansible_timeout, ConnectTimeout, 10s)"},
		&cli.DurationFlag{Name: "auth-timeout", Usage: "for a login, and for become (default: as the connection, 20s at the least)"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "log in as `USER` where the inventory names none"},
		&cli.StringFlag{Name: "private-key", Usage: "log in with this key `FILE` where the inventory names none"},
		&cli.BoolFlag{Name: "ask-pass", Aliases: []string{"k"}, Usage: "ask for the SSH password"},
		&cli.BoolFlag{Name: "ask-become-pass", Aliases: []string{"K"}, Usage: "ask for the become (sudo) password"},
		&cli.StringFlag{Name: "become-password-file", Usage: "read the become password from the first line of `FILE`"},
		&cli.StringFlag{Name: "become-method", Usage: "sudo, doas or su (default: sudo)"},
		&cli.StringFlag{Name: "become-user", Usage: "become `USER` where the inventory names none (default: root)"},
		&cli.StringFlag{Name: "become-prompt", Usage: "what su or PAM asks for the password with: `REGEX`, where they use other words"},
		&cli.StringFlag{Name: "host-key-checking", Value: "strict", Usage: "strict, accept-new (trust on first use) or off"},
		&cli.StringFlag{Name: "log-file", Usage: "append what happens to `FILE`, a JSON object a line"},
		&cli.StringFlag{Name: "ssh-config", Aliases: []string{"F"}, Usage: "the OpenSSH configuration `FILE`"},
	}
}
