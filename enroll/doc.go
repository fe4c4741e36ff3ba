// Package enroll has the use cases of fleetctl from beginning to end: Scan, Tokens, Enroll, Remove, Status and what goes with
// the records. Each goes through its stages over the rooms below (scan, token, host, records, tctl), tells a Watcher
// how it gets on, and returns a report. It prints nothing and knows no command line.
package enroll
