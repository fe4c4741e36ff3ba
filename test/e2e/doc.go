// Package e2e holds the end-to-end tests: the fleetctl that was built, real hosts, and a cluster of stand-ins.
package e2e
