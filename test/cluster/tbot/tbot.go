// Package tbot is a stand-in for Teleport's tbot: it reads the same configuration, joins the stand-in auth service
// with the host's TPM, keeps an identity in its storage directory, renews it and serves the diagnostics endpoints.
package tbot

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"fleetctl/test/cluster/version"
)

// Main runs tbot with the arguments of a command line and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	err := run(args, stdout, stderr)
	if err == nil || errors.Is(err, context.Canceled) {
		return 0
	}
	fmt.Fprintf(stderr, "ERROR: %v\n", err)
	return 1
}

const usage = `usage: tbot start -c FILE [--oneshot] [--pid-file=FILE] [--diag-addr=ADDR] [--debug]
       tbot tpm identify | tbot wait --diag-addr=ADDR [--timeout=DURATION] | tbot version`

func run(args []string, stdout, stderr io.Writer) error {
	switch {
	case len(args) == 0:
		return errors.New(usage)
	case args[0] == "version":
		fmt.Fprintln(stdout, version.Line())
		return nil
	case args[0] == "start":
		return start(args[1:], stderr)
	case args[0] == "wait":
		return wait(args[1:])
	case len(args) >= 2 && args[0] == "tpm" && args[1] == "identify":
		return identify(stdout, os.Getenv("STANDIN_TPM"))
	}
	return fmt.Errorf("expected command but got %q\n%s", args[0], usage)
}

// identify prints what `tbot tpm identify` prints.
func identify(stdout io.Writer, device string) error {
	tpm, err := openTPM(device)
	if err != nil {
		return err
	}
	defer tpm.Close()
	p, err := present(tpm)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "TPM Information\nEK Public Hash: %s\nEK Certificate Detected: %t\n", p.Hash, p.EKCert != nil)
	if p.EKCert != nil {
		fmt.Fprintf(stdout, "EK Certificate Serial: %s\n", p.Serial)
	}
	return nil
}

// bot is a tbot that runs.
type bot struct {
	config *Config
	device string // of the TPM; "" is the system's
	log    *logger
	ready  readiness
}

func start(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("start", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	path := flags.String("config", "", "")
	flags.StringVar(path, "c", "", "")
	oneshot := flags.Bool("oneshot", false, "")
	pidFile := flags.String("pid-file", "", "")
	diag := flags.String("diag-addr", "", "")
	flags.Bool("debug", false, "")
	flags.Bool("d", false, "")
	flags.Bool("insecure", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *path == "" || flags.NArg() > 0 {
		return errors.New(usage)
	}
	config, err := LoadConfig(*path)
	if err != nil {
		return err
	}
	config.Oneshot = config.Oneshot || *oneshot
	if *diag != "" {
		config.DiagAddr = *diag
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bot{config: config, device: os.Getenv("STANDIN_TPM"), log: &logger{w: stderr}}
	return b.run(ctx, *pidFile)
}

// run joins and, unless it is asked for one join, goes on renewing until ctx ends.
func (b *bot) run(ctx context.Context, pidFile string) error {
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(reload)
	if pidFile != "" {
		if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			return fmt.Errorf("failed to create pid file: %w", err)
		}
		defer os.Remove(pidFile)
	}
	b.log.info("TBOT", "Initializing bot", "version", version.Version)
	if err := b.config.Storage.prepare(); err != nil {
		return err
	}
	closeDiag, err := b.serveDiag(ctx)
	if err != nil {
		return err
	}
	defer closeDiag()
	b.log.info("TBOT:IDENTITY", "Joining", "method", "tpm", "token", b.config.Onboarding.Token,
		"server", b.config.Server())
	identity, err := b.join(ctx, true)
	if err != nil {
		return fmt.Errorf("initializing bot identity: %w", err)
	}
	b.log.info("TBOT:IDENTITY", "Fetched new bot identity", "bot", identity.Bot, "instance", identity.InstanceID)
	if b.config.Oneshot {
		b.log.info("TBOT", "Bot has completed one-shot mode")
		return nil
	}
	b.ready.set(nil)
	return b.renew(ctx, reload)
}

// renew repeats the join at each interval, and at once on SIGHUP or SIGUSR1. A renewal that fails is tried again at
// the next interval, until the identity's lifetime is over.
func (b *bot) renew(ctx context.Context, reload <-chan os.Signal) error {
	ticker := time.NewTicker(b.config.RenewalInterval)
	defer ticker.Stop()
	good := time.Now()
	for {
		select {
		case <-ctx.Done():
			b.log.info("TBOT", "Exiting bot")
			return nil
		case <-ticker.C:
		case sig := <-reload:
			b.log.info("TBOT", "Received signal, triggering reload", "signal", sig)
		}
		identity, err := b.join(ctx, false)
		b.ready.set(err)
		if err == nil {
			good = time.Now()
			b.log.info("TBOT:IDENTITY", "Renewed bot identity", "bot", identity.Bot, "instance", identity.InstanceID)
			continue
		}
		b.log.warn("TBOT:IDENTITY", "Failed to renew bot identity, will retry", "error", err)
		if time.Since(good) > b.config.CredentialTTL {
			return fmt.Errorf("renewing bot identity: %w", err)
		}
	}
}

// wait polls /readyz until it says yes.
func wait(args []string) error {
	flags := flag.NewFlagSet("wait", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	addr := flags.String("diag-addr", "", "")
	timeout := flags.Duration("timeout", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *addr == "" {
		return errors.New("--diag-addr must be set")
	}
	ctx := context.Background()
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+*addr+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("not ready: %s", resp.Status)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(250 * time.Millisecond):
		}
	}
}
