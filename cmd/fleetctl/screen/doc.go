// Package screen is how much of a fleet fits on a screen: many hosts in few words, tables that a terminal can show, one line
// that says how far a run has come. It knows words and widths; what they are about, it doesn't know.
package screen
