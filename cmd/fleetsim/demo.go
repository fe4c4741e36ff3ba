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
	why   string
	args  []string // of fleetctl
	codes []int    // the exit codes that are as they should be
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
		args:  []string{"scan", "inventory.yaml"},
		codes: []int{someHostsFailed},
	},
	{
		why: `What does the cluster have to know? A bot, and tokens with one allow rule a host: one token for TPMs with a
certificate of a known manufacturer, another for those that have none.`,
		args:  []string{"tokens"},
		codes: []int{0},
	},
	{
		why: `What would be done on the hosts? --check changes nothing; it makes a plan for every host, and exit code 4 (or
3 for the hosts in trouble) says that there is something to do.`,
		args:  []string{"enroll", "--check"},
		codes: []int{someHostsFailed, checkHasChanges},
	},
}

// runDemo shows fleetctl's commands at work, with each one's explanation and exit code on stderr.
func runDemo(dir string, stderr io.Writer) error {
	fleetctl, err := findFleetctl()
	if err != nil {
		return err
	}
	for _, s := range demo {
		fmt.Fprintf(stderr, "\n# %s\n$ fleetctl %s\n", strings.ReplaceAll(s.why, "\n", "\n# "), strings.Join(s.args, " "))
		err := runCommand(append([]string{fleetctl}, s.args...), dir)
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "(exit code %d)\n", code)
		if !slices.Contains(s.codes, code) {
			return fmt.Errorf("demo: fleetctl %s ended with %d", strings.Join(s.args, " "), code)
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
