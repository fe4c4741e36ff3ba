//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// demoStep is one command of the demo.
type demoStep struct {
	why     string
	command []string
	codes   []int // the exit codes that are as they should be
}

// Exit codes of fleetctl that are no failure of the demo.
const (
	someHostsFailed = 3
	checkHasChanges = 4
)

var demo = []demoStep{
	{
		why: `Whose TPMs are these? The helper is pushed to every host, reads its TPM, proves that the endorsement key
is really in there, and is gone. One host is down, one shows another host key than before, and two have
the same TPM: those three troubles are found, named, and cost exit code 3.`,
		command: []string{"fleetctl", "scan", "inventory.yaml"},
		codes:   []int{someHostsFailed},
	},
	{
		why: `What does the cluster have to know? A bot, and tokens with one allow rule a host: one token for TPMs with a
certificate of a known manufacturer, another for those that have none. The two with the same TPM get no rule
(exit code 3 again): one of them would come in for the other.`,
		command: []string{"fleetctl", "tokens"},
		codes:   []int{someHostsFailed},
	},
	{
		why:     `What it wrote is for "tctl create -f", and fit for git:`,
		command: []string{"cat", "out/bot.yaml", "out/fleet-hash-only.yaml"},
		codes:   []int{0},
	},
	{
		why: `What would be done on the hosts? --check changes nothing; it makes a plan for every host, and exit code 4 (or
3 for the hosts in trouble) says that there is something to do.`,
		command: []string{"fleetctl", "enroll", "--check"},
		codes:   []int{someHostsFailed, checkHasChanges},
	},
}

// runDemo shows fleetctl's commands at work, with each one's explanation and exit code on stderr.
func runDemo(dir string, stderr io.Writer) error {
	fleetctl, err := findFleetctl()
	if err != nil {
		return err
	}
	for _, s := range demo {
		line := strings.Join(s.command, " ")
		fmt.Fprintf(stderr, "\n# %s\n$ %s\n", strings.ReplaceAll(s.why, "\n", "\n# "), line)
		program := s.command[0]
		if program == "fleetctl" {
			program = fleetctl
		}
		err := runCommand(append([]string{program}, s.command[1:]...), dir)
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			return err
		}
		if code != 0 {
			fmt.Fprintf(stderr, "(exit code %d)\n", code)
		}
		if !slices.Contains(s.codes, code) {
			return fmt.Errorf("demo: %s ended with %d", line, code)
		}
	}
	fmt.Fprint(stderr, "\n# On real hosts, \"fleetctl enroll\" does all of this and then what it planned.\n")
	return nil
}

// findFleetctl looks beside fleetsim first, where the build puts it.
func findFleetctl() (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), "fleetctl")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("fleetctl")
	if err != nil {
		return "", errors.New("demo: no fleetctl beside fleetsim or in PATH: run make build")
	}
	return filepath.Abs(path)
}
