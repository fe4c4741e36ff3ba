// Package hostkeys reads known_hosts as OpenSSH does (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT) and says what a host key is worth. It
// dials nobody.
package hostkeys
