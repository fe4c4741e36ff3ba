// Package cluster is a stand-in for the parts of a Teleport cluster that enrolling hosts with the tpm join method
// meets: it parses resources strictly with Teleport's own types, keeps them in a directory, and decides joins by the
// rules that Teleport's server follows. README.md says what it is not.
package cluster
