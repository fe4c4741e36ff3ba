// Package templates embeds what lands on hosts and in the cluster.
package templates
