// Command tctl is a stand-in for Teleport's tctl; see test/cluster/README.md.
package main

import (
	"os"

	"fleetctl/test/cluster/tctl"
)

func main() {
	os.Exit(tctl.Run(tctl.Env{
		Args: os.Args[1:], Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}
