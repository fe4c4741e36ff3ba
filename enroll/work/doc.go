// Package work is for what is done on many hosts at once: how they are reached, who hears of each, and one worker a host. It
// does not know what is done.
package work
