// Package host makes one host what it should be: facts → plan → apply → verify, and takes it all away again. It works by
// thing: what gathers a thing's facts, plans it and takes it back stands together. It knows one connection, and neither
// the records nor other hosts.
package host
