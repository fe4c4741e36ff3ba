//go:build !linux

// Command fleetsim simulates a fleet on loopback. It needs Linux: 127/8 as a whole, namespaces and swtpm.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "fleetsim: needs Linux")
	os.Exit(1)
}
