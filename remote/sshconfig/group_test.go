package sshconfig

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/remote/remotetest/orphan"
)

func TestNothingOutlivesAskingSSH(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]string{
		"it ends and leaves a child that holds the pipe": "echo hostname h",
		"it waits for its child and is canceled":         "wait",
		"it does not end when it is told to":             "trap '' TERM; while :; do sleep 0.1; done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ssh, file := filepath.Join(dir, "ssh"), filepath.Join(dir, "pid")
			if err := os.WriteFile(ssh, []byte("#!/bin/sh\n"+orphan.Script(file, rest)+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := NewResolver(ssh).run(ctx, nil)
				done <- err
			}()
			pid := orphan.Number(t, file)
			if strings.HasPrefix(rest, "echo") {
				orphan.WantEnd(t, done, nil)
			} else {
				cancel()
				orphan.WantEnd(t, done, context.Canceled)
			}
			orphan.WantGone(t, pid)
		})
	}
}
