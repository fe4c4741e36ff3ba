package remote

import (
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/remote/remotetest/orphan"
)

func TestNothingOutlivesAProxyCommand(t *testing.T) {
	t.Setenv("SHELL", "/bin/sh")
	for name, rest := range map[string]string{
		"it ended before and left a child": "exit 0",
		"it waits for its child":           "wait",
		"it does not end when told to":     "trap '' TERM; while :; do sleep 0.1; done",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			conn, err := proxyCommand("sh -c '" + strings.ReplaceAll(orphan.Script(file, rest), "'", `'\''`) + "'")
			if err != nil {
				t.Fatal(err)
			}
			pid := orphan.Number(t, file)
			done := make(chan error, 1)
			go func() { done <- conn.Close() }()
			orphan.WantEnd(t, done, nil)
			orphan.WantGone(t, pid)
		})
	}
}
