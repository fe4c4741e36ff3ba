// Package remotetest holds an in-process SSH server with scripted faults, remote's own protocol without a shell behind it,
// and the conformance suite of remote. It serves loopback addresses only, and it is strict: a user, key, command or
// request that nobody scripted is refused.
package remotetest
