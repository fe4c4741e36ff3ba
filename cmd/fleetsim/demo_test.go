//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest/program"
)

func TestTheDemoShowsEveryCommandAndWhyItFailed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fake := "#!/bin/sh\necho \"did $*\"\n[ \"$1\" != enroll ] || exit 1\nmkdir -p out; touch out/bot.yaml out/fleet-hash-only.yaml; exit 3\n"
	if err := os.WriteFile(filepath.Join(dir, "fleetctl"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "-demo", "-swtpm=off", "-n=3")
	cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); exitCode(err) != 1 {
		t.Errorf("exit code: %v", err)
	}
	if got, want := stdout.String(), "did scan inventory.yaml\ndid tokens\ndid enroll --check\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, want := range []string{
		"$ fleetctl scan inventory.yaml\n(exit code 3)\n", "$ fleetctl tokens\n", "$ fleetctl enroll --check\n(exit code 1)\n",
		"fleetsim: demo: fleetctl enroll --check ended with 1\n",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, &stderr)
		}
	}
}

// The real demo, with the programs that make build made.
func TestTheDemo(t *testing.T) {
	t.Parallel()
	need(t, "swtpm")
	fleetctl := program.Fleetctl(t)
	modes(t, func(t *testing.T, isolate string) {
		cmd := command(t, "-demo", "-isolate="+isolate)
		cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(fleetctl)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"host-key-changed", "connect-failed", "duplicate-ek", "ok=16 unreachable=2 failed=2", "changed=16"} {
			if !bytes.Contains(out, []byte(want)) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
}
