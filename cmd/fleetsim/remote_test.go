//go:build linux

package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/inventory"
	"fleetctl/remote"
)

// The inventory is written for fleetctl: its own packages find and reach every host by it.
func TestFleetctlReachesTheHosts(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, isolate string) {
		s := boot(t, "-n=4", "-swtpm=off", "-isolate="+isolate, "-mix=changed-key=1")
		ctx := context.Background()
		inv, err := inventory.Load(ctx, []string{filepath.Join(s.dir, "inventory.yaml")}, inventory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		hosts, err := inv.Select("all")
		if err != nil {
			t.Fatal(err)
		}
		dialer, err := remote.NewDialer(remote.Options{SSHConfig: "/dev/null"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = dialer.Close() })
		failures := 0
		for _, h := range hosts {
			if out, err := runOn(ctx, dialer, h, "id -u; echo $((6*7))"); err != nil {
				failures++
				t.Logf("%s: %v", h.Name, err)
			} else if out != "0\n42\n" {
				t.Errorf("%s: got %q", h.Name, out)
			}
		}
		if len(hosts) != 4 || failures != 1 {
			t.Errorf("%d of %d hosts failed", failures, len(hosts))
		}
	})
}

// runOn runs a script as root.
func runOn(ctx context.Context, dialer *remote.Dialer, h inventory.Host, script string) (string, error) {
	c, err := h.Connection()
	if err != nil {
		return "", err
	}
	conn, err := dialer.Dial(ctx, remote.Target{
		Name: h.Name, Host: c.Host, Port: c.Port, User: c.User, PrivateKeyFile: c.PrivateKeyFile, SSHArgs: c.SSHArgs,
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	out, err := conn.Run(ctx, remote.Cmd{Script: script, Become: true})
	return strings.ReplaceAll(string(out.Stdout), "\r", ""), err
}
