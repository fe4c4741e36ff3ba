// Package scale takes fleets of simulated hosts (cmd/fleetsim) through a whole enroll, with a tctl stand-in for the
// cluster. It looks at what only numbers show: that nothing is lost, counted twice or waited for.
package scale
