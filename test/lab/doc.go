// Package lab boots real hosts on one machine: each has systemd as PID 1, OpenSSH, sudo, an IP address and, where the
// test wants one, an emulated TPM 2.0 at /dev/tpmrm0. Everything lives in the namespaces of one process and goes when
// that process does, however it ends. docs/lab.md describes it for people.
//
// A test package has
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
// which runs the tests again inside the namespaces, and calls Up in its tests. Tests of the package run as PID 1 of
// their own PID namespace, with no network but the lab's.
package lab
