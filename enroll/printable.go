package enroll

import "fleetctl/remote"

// printable makes a host's text fit for terminals and files.
func printable(s string) string { return remote.Clean(s) }
