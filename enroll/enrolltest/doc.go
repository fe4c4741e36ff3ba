// Package enrolltest owns a whole fleet in one process: hosts with files, accounts, systemd and a TPM each, behind a real
// SSH server, and a Teleport cluster behind tctl's words. Use cases run over it unchanged, over the real remote.Dialer,
// without root, without processes, fast and the same each time.
//
// It refuses to know the code under test: it imports no package that plans, applies or judges, only what travels
// (remote, the TPM's wire format). It is strict: a script, a command or a template that it does not understand fails
// the test, and it is never kinder than the real thing where it knows what the real thing does. For what only a real shell
// on a real file system can show there is a host in a chroot, which needs root.
package enrolltest
