// Package tctl is a stand-in for Teleport's tctl: the commands that fleetctl uses, with the flags, outputs and exit
// codes of its version. A command or flag that it does not play ends with an exit code of its own.
package tctl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// Env is what a run of tctl gets from outside.
type Env struct {
	Args           []string // without the program's name
	Getenv         func(string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run runs tctl and returns its exit code.
func Run(env Env) int { return cli.Exit(env.Stderr, "tctl", run(env)) }

// tool is a run of tctl that has found its cluster.
type tool struct {
	Env
	versions.Program
	store  *cluster.Store
	server cluster.Server
}

// commands that are played.
var commands = map[string]func(*tool, []string) error{
	"create": (*tool).create, "get": (*tool).get, "rm": (*tool).remove, "lock": (*tool).lock, "status": (*tool).status,
	"version": func(t *tool, _ []string) error {
		_, err := fmt.Fprintln(t.Stdout, t.Line())
		return err
	},
}

// global are tctl's flags before the command.
var global = cli.Command{Name: "tctl", Args: 1 << 20, Flags: []cli.Flag{
	{Name: "config", Short: 'c'}, {Name: "debug", Short: 'd', Bool: true}, {Name: "insecure", Bool: true},
	{Name: "identity", Short: 'i', Unplayed: true}, {Name: "auth-server", Repeats: true, Unplayed: true},
}}

func run(env Env) error {
	config, args, err := globals(env)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return cli.Unscripted("tctl without a command")
	}
	fn, ok := commands[args[0]]
	if !ok {
		return cli.Unscripted("tctl %s", strings.Join(args, " "))
	}
	t := &tool{Env: env}
	if args[0] != "version" {
		if t.store, err = openStore(config); err != nil {
			return err
		}
		if t.server, err = t.store.Server(); err != nil {
			return err
		}
	}
	if t.Program, err = program(env, t.server); err != nil {
		return err
	}
	return fn(t, args[1:])
}

// globals takes the flags in front of the command.
func globals(env Env) (config string, args []string, err error) {
	n := 0
	for n < len(env.Args) && strings.HasPrefix(env.Args[n], "-") {
		if n++; env.Args[n-1] == "-c" || env.Args[n-1] == "--config" {
			n = min(n+1, len(env.Args))
		}
	}
	g, err := global.Parse(env.Args[:n])
	if err != nil {
		return "", nil, err
	}
	config = g.Text("config")
	if config == "" {
		config = env.Getenv("TELEPORT_CONFIG_FILE")
	}
	if config == "" {
		config = "/etc/teleport.yaml"
	}
	return config, env.Args[n:], nil
}

// program is the tctl that runs: the version that the environment or its stamp names, else its cluster's own.
func program(env Env, server cluster.Server) (versions.Program, error) {
	if text := env.Getenv(versions.EnvVersion); text != "" {
		v, err := versions.Parse(text)
		return versions.Program{V: v, Enterprise: env.Getenv(versions.EnvEdition) == "enterprise"}, err
	}
	p, err := versions.Running()
	if err == nil && !p.Stamped && server.Version != "" {
		p.V = server.V()
	}
	return p, err
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

func (t *tool) remove(args []string) error {
	given, err := cli.Command{Name: "tctl rm", Args: 1}.Parse(args)
	if err != nil {
		return err
	}
	kind, name, err := reference(given.Args)
	if err != nil {
		return err
	}
	if name == "" || kind != cluster.KindToken && kind != cluster.KindBot {
		return cli.Unscripted("tctl rm %s", strings.Join(args, " "))
	}
	if err := t.server.Admit("delete", kind); err != nil {
		return err
	}
	if err := t.store.Delete(kind, name); err != nil {
		return err
	}
	said := fmt.Sprintf("bot %q has been deleted", name)
	if kind == cluster.KindToken {
		said = versions.Text("tctl.token_deleted", "NAME", name)
	}
	_, err = fmt.Fprintln(t.Stdout, said)
	return err
}

func (t *tool) lock(args []string) error {
	given, err := cli.Command{Name: "tctl lock", Flags: []cli.Flag{{Name: "user"}, {Name: "message"}, {Name: "ttl"}}}.Parse(args)
	if err != nil {
		return err
	}
	ttl, err := given.Duration("ttl")
	if err != nil {
		return err
	}
	user := given.Text("user")
	if user == "" {
		return cli.Unscripted("tctl lock of something else than a user")
	}
	var until time.Time
	if ttl > 0 {
		until = time.Now().Add(ttl)
	}
	if err := t.store.Lock(user, given.Text("message"), until); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.Stdout, "Created a lock with name %q.\n", user)
	return err
}

// status prints two columns without colons, and the cluster's alerts to standard error (sample
// tctl-status-2023-layout.txt). How 17 and later look is not known.
func (t *tool) status(args []string) error {
	if _, err := (cli.Command{Name: "tctl status"}).Parse(args); err != nil {
		return err
	}
	for _, alert := range t.server.Alerts {
		fmt.Fprintf(t.Stderr, "%s\n\n", alert)
	}
	_, err := fmt.Fprintf(t.Stdout, "Cluster  stand-in\nVersion  %s\nhost CA  never updated\nuser CA  never updated\nCA pin   sha256:%s\n",
		t.server.Version, strings.Repeat("cd", 32))
	return err
}

// reference splits KIND/NAME and takes any of a kind's spellings.
func reference(args []string) (kind, name string, err error) {
	if len(args) == 0 {
		return "", "", errors.New("required argument 'resource' not provided")
	}
	kind, name, _ = strings.Cut(args[0], "/")
	switch kind {
	case "tokens":
		kind = cluster.KindToken
	case "bots":
		kind = cluster.KindBot
	case "bot_instances":
		kind = cluster.KindBotInstance
	}
	return kind, name, nil
}
