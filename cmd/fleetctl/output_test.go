package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/enrolltest"
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
	v := newValidator(t)
	for _, command := range []string{
		"inventory", "scan", "scan --limit web-01", "enroll --check --diff", "tokens", "tokens --diff", "enroll", "enroll --check",
		"records", "records --issuers", "records history web-01", "records runs", "records export", "status", "explain", "explain no-tpm",
		"remove --check web-01", "remove --check --diff web-01 web-02", "inventory --show-config", "inventory --why ansible_host web-01",
		"known-hosts --sshfp=false", "records recover --check", "records disable web-02", "records log", "records --removed", "doctor",
	} {
		for _, format := range []string{"table", "json", "jsonl", "yaml", "csv"} {
			args := append(strings.Fields(command), "-o", format)
			if slices.Contains([]string{"tokens", "enroll", "remove"}, args[0]) {
				args = append(args, "--out", w.out())
			}
			if command == "records export" && format == "table" {
				continue // it has none
			}
			if command == "records disable web-02" {
				if r := w.inProcess("records", "enable", "web-02"); r.code != exitOK && r.code != exitUsage {
					t.Fatalf("%+v", r)
				}
			}
			r := w.inProcess(args...)
			if r.code != exitOK && r.code != exitChanges && command != "doctor" ||
				r.stdout == "" && (format != "jsonl" || command != "inventory --show-config") {
				t.Errorf("%s -o %s: exit %d, %q, %q", command, format, r.code, r.stdout, r.stderr)
			}
			if err := v.parse(format, r.stdout); err != nil && (command != "tokens --diff" || format != "csv") {
				t.Errorf("%s -o %s: %v in %q", command, format, err, r.stdout)
			}
		}
	}
	once(t, w, v)
	var setting bytes.Buffer // of an ansible.cfg, which this directory has none of
	if err := write(&printer{w: &setting, format: "jsonl"}, settingsShape, nothing{}, nil, []settingRow{{Setting: "forks", Value: 5}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := v.parse("jsonl", setting.String()); err != nil {
		t.Error(err)
	}
	if missed := v.missed(); len(missed) > 0 {
		t.Errorf("no output was checked against %q", missed)
	}
}

// once runs commands that do what they do once, or whose document is none of the usual ones.
func once(t *testing.T, w *world, v *validator) {
	t.Helper()
	if err := w.newEK("web-01", 77); err != nil {
		t.Fatal(err)
	}
	w.inProcess("scan")
	plan := filepath.Join(w.dir, "plan.json")
	w.inProcess("tokens", "--out", w.out(), "--plan", plan)
	raw, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.parse("json", string(raw)); err != nil {
		t.Errorf("--plan: %v in %s", err, raw)
	}
	for _, command := range []string{
		"records accept web-01 -o json", "records accept web-01 -o jsonl", "report -o json", "records import -o json -", "records import -o jsonl -",
	} {
		if strings.HasPrefix(command, "records accept") {
			if err := w.newEK("web-01", 78+len(command)); err != nil {
				t.Fatal(err)
			}
			w.inProcess("scan")
		}
		r := w.inProcessWith(t.Context(), func(a *app) { a.stdin = strings.NewReader(oneImport) }, strings.Fields(command)...)
		_, format, _ := strings.Cut(command, "-o ")
		if err := v.parse(strings.TrimSuffix(format, " -"), r.stdout); err != nil {
			t.Errorf("%s: %v in %q (exit %d, %s)", command, err, r.stdout, r.code, r.stderr)
		}
	}
	hooked(t, v)
	for _, format := range []string{"json", "jsonl", "yaml"} {
		r := runApp(t.Context(), nil, "fleetctl", "version", "-o", format)
		if err := v.parse(format, r.stdout); err != nil {
			t.Errorf("version -o %s: %v in %q", format, err, r.stdout)
		}
	}
}

// hooked has every hook keep what it reads.
func hooked(t *testing.T, v *validator) {
	t.Helper()
	dir := t.TempDir()
	heard := filepath.Join(dir, "heard.jsonl")
	config := worldConfig + "rollout:\n  hooks:\n"
	for _, hook := range []string{"before_run", "after_run", "before_host", "after_host"} {
		config += fmt.Sprintf("    %s: cat >>%[2]s; echo >>%[2]s\n", hook, heard)
	}
	if err := os.WriteFile(filepath.Join(dir, "fleet.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, dir, worldOptions{groups: []string{"web=1"}})
	if r := w.inProcess("enroll", "--out", w.out()); r.code != exitOK {
		t.Errorf("%+v", r)
	}
	raw, err := os.ReadFile(heard)
	if err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"before_run", "after_run", "before_host", "after_host"} {
		if !strings.Contains(string(raw), `"hook":"`+hook+`"`) {
			t.Errorf("%s has heard nothing: %s", hook, raw)
		}
	}
	if err := v.parse("jsonl", string(raw)); err != nil {
		t.Errorf("hooks: %v in %s", err, raw)
	}
}

const oneImport = `{"host":"far-01","ek_public_hash":"1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c"}`

// TestAnExportIsImportedInEveryFormat that import reads: as it is restored on another machine.
func TestAnExportIsImportedInEveryFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=2"}})
	if r := w.inProcess("scan"); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	for _, format := range []string{"json", "jsonl"} {
		exported := w.inProcess("records", "export", "-o", format)
		db := filepath.Join(t.TempDir(), "other.db")
		r := w.inProcessWith(t.Context(), func(a *app) { a.stdin = strings.NewReader(exported.stdout) },
			"records", "import", "--db", db, "--trust-proofs", "-")
		if r.code != exitOK || !strings.Contains(r.stderr, "ok=2") {
			t.Errorf("%s: %+v", format, r)
		}
		hash := w.hosts["web-02"].TPM.EKHash()
		if again := w.inProcess("records", "--db", db, "-o", "csv"); !strings.Contains(again.stdout, "web-02,accepted,"+hash) {
			t.Errorf("%s: restored as %s", format, again.stdout)
		}
	}
}

// TestJSONLinesComeAsHostsEnd: a program that reads them knows of a host as soon as fleetctl does, of what came of it last by its
// last line, and by the recap that there are no more.
func TestJSONLinesComeAsHostsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), worldOptions{groups: []string{"web=3"}})
	w.hosts["web-02"].With(func(s *enrolltest.State) { s.Sudo.Denied = true })
	for _, command := range []string{"scan", "enroll --out " + w.out(), "remove --yes web-01 --out " + w.out()} {
		out := &writes{}
		r := w.inProcessWith(t.Context(), func(a *app) { a.stdout = out }, append(strings.Fields(command), "-o", "jsonl")...)
		if len(out.all) < 2 || strings.Count(out.all[0], "\n") != 1 {
			t.Fatalf("%s: what is written first is no line: %q, %+v", command, out.all, r)
		}
		all := strings.Split(strings.TrimSpace(strings.Join(out.all, "")), "\n")
		if last := all[len(all)-1]; !strings.HasPrefix(last, `{"schema":"fleetctl/recap/v1","recap":{`) {
			t.Errorf("%s: the last line is %s", command, last)
		}
		latest := map[string]map[string]any{}
		for _, line := range all[:len(all)-1] {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			latest[m["host"].(string)] = m
		}
		if command == "scan" && (len(all) != 4 || latest["web-02"]["status"] != "become-failed" || latest["web-03"]["outcome"] != "ok") {
			t.Errorf("%s: %q", command, all)
		}
	}
}

// parse says what keeps a text from being of a format, and of the schema that it names.
func (v *validator) parse(format, text string) error {
	switch format {
	case "json":
		return v.parseJSON(text)
	case "jsonl":
		for line := range strings.Lines(text) {
			if err := v.parseJSON(line); err != nil {
				return err
			}
		}
	case "yaml":
		return v.parseYAML(text)
	case "csv":
		_, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		return err
	}
	return nil
}

// parseJSON checks one document or one line.
func (v *validator) parseJSON(text string) error {
	var doc any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return err
	}
	return v.check(doc)
}

// parseYAML takes YAML for the JSON that it stands for.
func (v *validator) parseYAML(text string) error {
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return err
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return v.parseJSON(string(raw))
}

// writes keeps what is written, one write apart from the other.
type writes struct{ all []string }

func (w *writes) Write(p []byte) (int, error) {
	w.all = append(w.all, string(p))
	return len(p), nil
}
