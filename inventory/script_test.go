package inventory

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"fleetctl/remote/remotetest/orphan"
)

func TestNothingOutlivesAnExecutable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rest   string
		cancel bool
	}{
		"it ends and leaves a child that holds the pipe": {rest: `echo '{"a": ["h"], "_meta": {"hostvars": {}}}'`},
		"it waits for its child and is canceled":         {rest: "wait", cancel: true},
		"it does not end when it is told to":             {rest: "trap '' TERM; while :; do sleep 0.1; done", cancel: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			pidFile := filepath.Join(dir, "pid")
			text := fmt.Sprintf("#!/bin/sh\nsleep 1000 & echo $! >%s.new; mv %s.new %s\n%s\n", pidFile, pidFile, pidFile, c.rest)
			file := writeFile(t, filepath.Join(dir, "inv"), text, 0o755)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := Load(ctx, []string{file}, Options{})
				done <- err
			}()
			pid := orphan.Number(t, pidFile)
			if c.cancel {
				cancel()
			}
			select {
			case err := <-done:
				if c.cancel != errors.Is(err, context.Canceled) || !c.cancel && err != nil {
					t.Errorf("got %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("it hangs")
			}
			orphan.WantGone(t, pid)
		})
	}
}
