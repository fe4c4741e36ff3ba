// Package enrolltest has what the tests of the rooms below enroll share: records, certificates, and a host in a chroot. It
// imports no room that it helps to test.
package enrolltest
