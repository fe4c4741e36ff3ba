// Package text makes a host's words fit for people: terminals, logs and files.
package text
