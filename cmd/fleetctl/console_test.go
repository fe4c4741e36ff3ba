package main

import (
	"io"
	"testing"

	"fleetctl/enroll"
)

// TestAStageMayEndAtOnce: what says how far it is ends with a stage that was over before it had begun to look.
func TestAStageMayEndAtOnce(t *testing.T) {
	t.Parallel()
	k := &console{app: &app{stderr: io.Discard}, progress: true}
	for range 1000 {
		k.Begin(enroll.StageEnroll, 3)
		k.End()
	}
}
