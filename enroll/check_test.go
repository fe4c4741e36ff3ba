package enroll

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/templates"
)

// load reads a fleet.yaml with these lines besides what it needs.
func load(t *testing.T, lines string) (config.Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	text := "version: v1\ncluster: {proxy_server: teleport.example.com:443}\nbot: {name: fleet, roles: [access]}\n" + lines
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c, path
}

func TestWhatIsWrongIsFoundBeforeAHostIsContacted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*lab) string // what the error has to say
	}{
		{"an unknown group has fleet.yaml's line", func(l *lab) string {
			c, path := load(l.t, "rollout:\n  canary: 1\n  order: [nosuchgroup]\n")
			l.Config = c
			return path + ":6:10: rollout.order: the inventory has no group \"nosuchgroup\""
		}},
		{"a TPM device that no unit can hold", func(l *lab) string {
			l.set("web-02", "tpm_device", "/dev/my tpm")
			return "web-02: tpm_device: "
		}},
		{"an override that is no mapping", func(l *lab) string {
			l.set("web-02", "tbot", "yes")
			return "web-02: tbot: is not a mapping"
		}},
		{"a template that loses the token", func(l *lab) string {
			dir := l.t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, templates.TbotConfig), []byte("{{.Header}}\nversion: v2\n"), 0o600); err != nil {
				l.t.Fatal(err)
			}
			set, err := templates.Load(dir)
			if err != nil {
				l.t.Fatal(err)
			}
			l.Templates = set
			return "web-01: templates: "
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			want := tt.change(l)
			_, enrolled := l.enroll()
			_, status := Status(t.Context(), l.Fleet, nil)
			for what, err := range map[string]error{"Check": check(l.Fleet), "Enroll": enrolled, "Status": status} {
				if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %s", what, err, want)
				}
			}
			for name, h := range l.host {
				if h.Events() > 0 {
					t.Errorf("%s was contacted", name)
				}
			}
			if l.runs() != "" || len(l.cluster.Commands()) > 0 {
				t.Errorf("runs %q, %d commands", l.runs(), len(l.cluster.Commands()))
			}
		})
	}
}

func TestNothingIsWrongWithAHealthyFleet(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.Groups = append(l.Groups, "web")
	l.Config.Rollout.Order = []string{"web", "all"}
	if err := check(l.Fleet); err != nil {
		t.Error(err)
	}
}

func TestADeviceIsRefusedAlikeByScanAndEnroll(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.set("web-01", "tpm_device", "/dev/my tpm")
	report, err := l.scan()
	l.check("scan", report.Results, err, "web-01 failed inventory-error, web-02 ok", outcome.ErrHostsFailed)
	enrolled := check(l.Fleet)
	if enrolled == nil || enrolled.Error() != report.Results[0].Message {
		t.Errorf("scan says  %s\nenroll says %v", report.Results[0].Message, enrolled)
	}
	if outcome.HintOf(enrolled) != report.Results[0].Hint {
		t.Errorf("scan's hint is %q, enroll's %q", report.Results[0].Hint, outcome.HintOf(enrolled))
	}
	for _, e := range l.events {
		if e.Host == "web-01" {
			t.Errorf("web-01 was asked for %s", e.What)
		}
	}
	l.set("web-01", "tpm_device", "/dev/tpmrm0")
	if _, err := l.scan(); err != nil || check(l.Fleet) != nil {
		t.Errorf("one that is right: %v, %v", err, check(l.Fleet))
	}
}
