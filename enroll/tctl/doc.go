// Package tctl runs Teleport's tctl and reads what it prints. What the answers mean for a fleet is not its business.
package tctl
