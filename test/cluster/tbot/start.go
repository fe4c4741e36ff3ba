package tbot

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// debugFlags are the global flags that every command takes.
var debugFlags = []cli.Flag{{Name: "debug", Short: 'd', Bool: true}, {Name: "log-format", Unplayed: true}}

// startBools are the flags of start that take no value.
var startBools = []string{"debug", "fips", "insecure", "oneshot"}

// startUnplayed are flags of start that the stand-in does not play.
var startUnplayed = []string{"log-format", "ca-pin", "destination-dir"}

// startFlags are the flags that start takes in a version: those of versions.yaml, tbot.start.
func (t *tool) startFlags() cli.Command {
	c := cli.Command{Name: "tbot start"}
	if versions.Has("tbot.start.subcommands.legacy", t.V) {
		c.Name = "tbot start legacy"
	}
	var short byte
	for _, flag := range versions.List("tbot.start.flags_always") {
		name, long := strings.CutPrefix(flag, "--")
		if !long {
			short = flag[1]
			continue
		}
		c.Flags = append(c.Flags, cli.Flag{
			Name: name, Bool: slices.Contains(startBools, name), Unplayed: slices.Contains(startUnplayed, name),
		})
		if last := &c.Flags[len(c.Flags)-1]; short == name[0] {
			last.Short = short
		}
		short = 0
	}
	for name, path := range map[string]string{
		"pid-file": "tbot.start.pid_file", "diag-socket-for-updater": "tbot.start.diag_socket_for_updater",
	} {
		if versions.Has(path, t.V) {
			c.Flags = append(c.Flags, cli.Flag{Name: name})
		}
	}
	for i := range c.Flags { // -a stands behind the flag that it is short for
		if c.Flags[i].Name == "auth-server" {
			c.Flags[i].Short = 'a'
		}
	}
	return c
}

func (t *tool) start(args []string) error {
	if versions.Has("tbot.start.subcommands.legacy", t.V) && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		if args[0] != "legacy" {
			return cli.Unscripted("tbot start %s", args[0])
		}
		args = args[1:]
	}
	given, err := t.startFlags().Parse(args)
	if err != nil {
		return err
	}
	config, err := t.loadConfig(given)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bot{
		tool: t, config: config, device: os.Getenv("STANDIN_TPM"), log: &journal{w: t.stderr, v: t.V},
		health: newHealth(config.serviceNames(t.V)), began: time.Now(),
	}
	return b.run(ctx, given.Text("pid-file"), given.Text("diag-socket-for-updater"))
}

// bot is a tbot that runs.
type bot struct {
	*tool
	config *Config
	device string // of the TPM; "" is the system's
	log    *journal
	health *health
	began  time.Time
}

// degrades says whether a tbot that has an identity goes on with it when the cluster refuses to renew it at the start,
// and so has its listener up before it has joined (versions.md, C and D).
func (t *tool) degrades() bool { return !versions.Has("start.rejoin_failure_exits", t.V) }

// run joins and, unless it is asked for one join, goes on renewing until ctx ends.
func (b *bot) run(ctx context.Context, pidFile, socket string) error {
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(reload)
	if pidFile != "" {
		if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			return cli.Wrap(err, "failed to create pid file")
		}
		defer os.Remove(pidFile)
	}
	if versions.Has("tbot.logs_version_at_start", b.V) {
		b.log.line("INFO", "TBOT", "Starting tbot", "tbot/tbot.go:100", "version:"+b.V.String())
	}
	unlock, err := b.config.Storage.prepare()
	if err != nil {
		return err
	}
	defer unlock()
	closeDiag, listening := func() {}, false
	defer func() { closeDiag() }()
	listen := func() (err error) {
		if !listening {
			listening = true
			closeDiag, err = b.serveDiag(ctx, socket)
		}
		return err
	}
	if b.degrades() {
		if err := listen(); err != nil {
			return err
		}
	}
	refused, err := b.initialize(ctx)
	if err != nil {
		return err
	}
	if err := listen(); err != nil {
		return err
	}
	if b.config.Oneshot {
		b.log.line("INFO", "TBOT", "Bot has completed one-shot mode", "tbot/tbot.go:200")
		return nil
	}
	return b.renew(ctx, reload, refused)
}

// serviceNames are the names by which /readyz knows what runs: the bot's own services, then those of the
// configuration. Generated names became simpler with 17.7.9 and 18.3.0 (versions.md, C; sample readyz-200-18.json).
func (c *Config) serviceNames(v versions.V) []string {
	names := []string{"identity", "heartbeat", "ca-rotation"}
	for i, s := range c.Services {
		switch {
		case s.Name != "":
			names = append(names, s.Name)
		case v.Since("17.7.9", "18.3.0"):
			names = append(names, fmt.Sprintf("%s-output-%d", s.Type, i+1))
		default:
			names = append(names, fmt.Sprintf("%s-output (%s)", s.Type, s.Destination.describe()))
		}
	}
	return names
}
