// Package tctl is a stand-in for Teleport's tctl: the commands that fleetctl uses, with the same flags, outputs and
// exit codes.
package tctl

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/version"
)

// Env is what a run of tctl gets from outside.
type Env struct {
	Args           []string // without the program's name
	Getenv         func(string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run runs tctl and returns its exit code.
func Run(env Env) int {
	if err := run(env); err != nil {
		fmt.Fprintf(env.Stderr, "ERROR: %v\n", err)
		return 1
	}
	return 0
}

const usage = `usage: tctl [-c FILE] COMMAND
commands: create [-f] [FILE], get KIND[/NAME] [--format yaml|json|text], rm KIND/NAME,
          lock --user USER [--message TEXT] [--ttl DURATION], status, version`

func run(env Env) error {
	flags := newFlags("tctl")
	config := flags.String("config", orDefault(env.Getenv("TELEPORT_CONFIG_FILE"), "/etc/teleport.yaml"), "")
	flags.StringVar(config, "c", *config, "")
	if err := flags.Parse(env.Args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New(usage)
	}
	command, args := flags.Arg(0), flags.Args()[1:]
	if command == "version" {
		fmt.Fprintln(env.Stdout, version.Line())
		return nil
	}
	commands := map[string]func(Env, *cluster.Store, []string) error{
		"create": create, "get": get, "rm": remove, "lock": lock, "status": status,
	}
	fn, ok := commands[command]
	if !ok {
		return fmt.Errorf("expected command but got %q\n%s", command, usage)
	}
	store, err := openStore(*config)
	if err != nil {
		return err
	}
	return fn(env, store, args)
}

// openStore finds the auth service as tctl does on its host: by the data directory in the configuration.
func openStore(path string) (*cluster.Store, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("no auth service found: %w", err)
	}
	var config struct {
		Teleport struct {
			DataDir string `yaml:"data_dir"`
		} `yaml:"teleport"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("failed to parse Teleport configuration %s: %w", path, err)
	}
	if config.Teleport.DataDir == "" {
		return nil, fmt.Errorf("%s: teleport.data_dir is not set", path)
	}
	return cluster.OpenStore(config.Teleport.DataDir)
}

// create applies the documents of a file in turn and stops at the first error: what stands before it stays applied.
func create(env Env, store *cluster.Store, args []string) error {
	flags := newFlags("create")
	force := flags.Bool("force", false, "")
	flags.BoolVar(force, "f", false, "")
	files, err := parse(flags, args)
	if err != nil {
		return err
	}
	in := env.Stdin
	if len(files) > 1 {
		return fmt.Errorf("unexpected %s", files[1])
	}
	if len(files) == 1 {
		f, err := os.Open(files[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	dec := cluster.NewDecoder(in)
	for n := 0; ; n++ {
		r, err := dec.Next()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return errors.New("no resources found, empty input?")
			}
			return nil
		}
		if err != nil {
			return err
		}
		if err := put(env, store, r, *force); err != nil {
			return err
		}
	}
}

func put(env Env, store *cluster.Store, r cluster.Resource, force bool) error {
	if r.Token != nil {
		if err := store.PutToken(r.Token); err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "provision_token %q has been created\n", r.Name())
		return nil
	}
	if err := store.PutBot(r.Bot, force); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "bot %q has been created\n", r.Name())
	return nil
}

func remove(env Env, store *cluster.Store, args []string) error {
	refs, err := parse(newFlags("rm"), args)
	if err != nil {
		return err
	}
	if len(refs) != 1 {
		return errors.New(usage)
	}
	kind, name, _ := strings.Cut(refs[0], "/")
	kind = canonical(kind)
	if name == "" || kind != cluster.KindToken && kind != cluster.KindBot {
		return fmt.Errorf("deleting %q is not supported", refs[0])
	}
	if err := store.Delete(kind, name); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s %q has been deleted\n", kind, name)
	return nil
}

func lock(env Env, store *cluster.Store, args []string) error {
	flags := newFlags("lock")
	user := flags.String("user", "", "")
	message := flags.String("message", "", "")
	ttl := flags.Duration("ttl", 0, "")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	if *user == "" {
		return errors.New("the stand-in locks users only: --user is required")
	}
	var until time.Time
	if *ttl > 0 {
		until = time.Now().Add(*ttl)
	}
	if err := store.Lock(*user, *message, until); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "Created a lock with name %q.\n", *user)
	return nil
}

func status(env Env, _ *cluster.Store, _ []string) error {
	fmt.Fprintf(env.Stdout, "Cluster: stand-in\nVersion: %s\n", version.Version)
	return nil
}

// canonical returns the kind that one of its spellings means.
func canonical(kind string) string {
	switch kind {
	case "token", "tokens":
		return cluster.KindToken
	case "bot", "bots":
		return cluster.KindBot
	case "bot_instance", "bot_instances":
		return "bot_instance"
	}
	return kind
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// parse takes flags before and after the arguments, as tctl does, and returns the arguments.
func parse(flags *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
