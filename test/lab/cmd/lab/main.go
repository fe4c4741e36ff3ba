// Command lab boots the lab and runs a command in it; see docs/lab.md.
//
//	go run ./lab/cmd/lab -- COMMAND [ARGUMENT…]      in test/, as root; without a command, a shell
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"fleetctl/test/lab"
)

func main() { lab.Run(run) }

func run() int {
	hosts := flag.String("hosts", "", "boot these hosts of the mix only, separated by commas")
	flag.Parse()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt) // it is for the command

	start := time.Now()
	l, err := lab.New(context.Background(), choose(*hosts)...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	defer l.Down()
	fmt.Fprintf(os.Stderr, "lab: %d hosts after %.1f s; LAB_DIR=%s has inventory.yaml, fleet.yaml, known_hosts\n",
		len(l.Hosts), time.Since(start).Seconds(), l.Dir)
	return command(l, flag.Args())
}

// choose returns the hosts of the mix that are named.
func choose(names string) []lab.Spec {
	if names == "" {
		return lab.Mix()
	}
	var specs []lab.Spec
	for _, spec := range lab.Mix() {
		for name := range strings.SplitSeq(names, ",") {
			if spec.Name == name {
				specs = append(specs, spec)
			}
		}
	}
	return specs
}

// command runs the user's command in the lab's directory and returns its exit code.
func command(l *lab.Lab, args []string) int {
	if len(args) == 0 {
		args = []string{"bash", "--norc", "-i"}
	}
	cmd := l.Command(context.Background(), args[0], args[1:]...)
	cmd.Env = append(cmd.Env, "PS1=lab$ ")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}
