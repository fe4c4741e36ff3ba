// Package delivery tests what is handed out: the package that "make snapshot" makes is installed, run and removed on a host of
// the lab, and the Containerfile names only files that are there.
package delivery
