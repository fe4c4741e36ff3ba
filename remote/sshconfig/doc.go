// Package sshconfig finds out what the user's OpenSSH configuration says of a host: from ssh -G, or by reading ssh_config(5)
// where there is no OpenSSH. It dials nobody.
package sshconfig
