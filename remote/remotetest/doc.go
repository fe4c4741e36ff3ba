// Package remotetest holds an in-process SSH server with scripted faults and the conformance suite of remote.
package remotetest
