package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestAFullDiskOfTheOutputIsAnError: a program that reads a cut result must be able to tell.
func TestAFullDiskOfTheOutputIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=1"}, certs: true})
	if r := w.inProcess("enroll", "--out", w.out()); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	w.cluster.Delete("bot/fleet") // so that there is a difference
	for _, command := range []string{
		"inventory", "inventory --list", "inventory --graph", "scan", "records", "records --issuers", "records history web-01",
		"records runs", "records export", "tokens", "tokens --diff", "status", "enroll --check -v", "explain", "explain no-tpm",
		"report", "remove --check web-01",
	} {
		formats := []string{"table", "json", "jsonl", "yaml", "csv"}
		if strings.Contains(command, "--list") || strings.Contains(command, "--graph") {
			formats = []string{""}
		} else if strings.Contains(command, "export") {
			formats = formats[1:]
		}
		for _, format := range formats {
			args := strings.Fields(command)
			if format != "" {
				args = append(args, "-o", format)
			}
			if strings.HasPrefix(command, "tokens") || strings.HasPrefix(command, "enroll") {
				args = append(args, "--out", w.out())
			}
			r := w.inProcessWith(context.Background(), func(a *app) { a.stdout = fullDisk{} }, args...)
			if r.code != exitError || !strings.Contains(r.stderr, "error: no space left") {
				t.Errorf("%s -o %s: exit %d, %q", command, format, r.code, r.stderr)
			}
		}
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }
