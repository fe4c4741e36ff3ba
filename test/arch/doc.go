// Package arch runs the helpers that are embedded in fleetctl, each for its own architecture, under QEMU's emulation of
// a process, and has them talk to an emulated TPM: they must agree with this machine's own, and leave nothing behind.
package arch
