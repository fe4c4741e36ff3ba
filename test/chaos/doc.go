// Package chaos lets everything go wrong that one seed says: hosts that refuse, fall silent, cut, flood, lie or lack
// something, and a controller that is killed, stopped, without space or without a network. The hosts are in memory
// (enroll/enrolltest) behind a real SSH server, each at an address of its own; fleetctl is the real program. What has to be so
// afterwards: docs/chaos.md.
package chaos
