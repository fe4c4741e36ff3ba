//go:build linux

// Command fleetsim simulates a fleet on loopback, for the demo, the tests and the benchmarks: SSH servers that really
// run what they are told, each in a file system of its own, with an emulated TPM behind each host. It owns everything
// it starts and takes all of it along when it ends, however it ends. It knows nothing of Teleport.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	os.Exit(run(os.Args, os.Stderr))
}

// run is main with its surroundings as arguments. fleetsim starts itself twice more, under other names: the keeper,
// which is process 1 of the fleet, and in it the hosts.
func run(args []string, stderr io.Writer) int {
	switch args[0] {
	case keeperName:
		return keep()
	case hostsName:
		return serveHosts()
	}
	o, err := parseFlags(args[1:], stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "fleetsim: %v\n", err)
		return 2
	}
	err = control(o, stderr)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode() // of COMMAND
	}
	if err != nil {
		fmt.Fprintf(stderr, "fleetsim: %v\n", err)
		return 1
	}
	return 0
}
