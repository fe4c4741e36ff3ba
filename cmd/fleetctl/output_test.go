package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
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
		} else if command == "report" {
			formats = []string{"html", "json"}
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

// TestEveryFormatIsWhatItSays: of every command that has -o. Programs read them.
func TestEveryFormatIsWhatItSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=2"}, certs: true})
	for _, command := range []string{
		"inventory", "scan", "scan --limit web-01", "enroll --check --diff", "tokens", "tokens --diff", "enroll", "enroll --check",
		"records", "records --issuers", "records history web-01", "records runs", "records export", "status", "explain", "explain no-tpm",
		"remove --check web-01", "remove --check --diff web-01 web-02",
	} {
		for _, format := range []string{"table", "json", "jsonl", "yaml", "csv"} {
			args := append(strings.Fields(command), "-o", format)
			if slices.Contains([]string{"tokens", "enroll", "remove"}, args[0]) {
				args = append(args, "--out", w.out())
			}
			if command == "records export" && format == "table" {
				continue // it has none
			}
			r := w.inProcess(args...)
			if r.code != exitOK && r.code != exitChanges || r.stdout == "" {
				t.Errorf("%s -o %s: exit %d, %q, %q", command, format, r.code, r.stdout, r.stderr)
			}
			if err := parseAs(format, r.stdout); err != nil && (command != "tokens --diff" || format != "csv") {
				t.Errorf("%s -o %s: %v in %q", command, format, err, r.stdout)
			}
		}
	}
}

// parseAs says what keeps a text from being of a format.
func parseAs(format, text string) error {
	switch format {
	case "json":
		return json.Unmarshal([]byte(text), new(any))
	case "jsonl":
		for line := range strings.Lines(text) {
			if err := json.Unmarshal([]byte(line), &map[string]any{}); err != nil {
				return err
			}
		}
	case "yaml":
		return yaml.Unmarshal([]byte(text), new(any))
	case "csv":
		_, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		return err
	}
	return nil
}
