// Package outcome is the vocabulary of fleetctl: how a run ended for a host, why, and what to do about it. Every code stands
// in one list, and one table finds the code of an error. It knows no flag and prints nothing.
package outcome
