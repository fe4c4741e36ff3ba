// Command tbot is a stand-in for Teleport's tbot; see test/cluster/README.md.
package main

import (
	"os"

	"fleetctl/test/cluster/tbot"
)

func main() { os.Exit(tbot.Main(os.Args[1:], os.Stdout, os.Stderr)) }
