// Package fault has the errors of a connection, which its parts share. Package remote is where others find them.
package fault
