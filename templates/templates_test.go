package templates_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/templates"
)

func data() templates.Data {
	return templates.Data{
		Header: templates.Marker + ": test.", Host: "web-01", Token: "fleet", User: "teleport", Group: "teleport", Access: "tss",
		Binary: "/usr/local/bin/tbot", Config: "/etc/tbot.yaml", Storage: "/var/lib/teleport/bot", Device: "/dev/tpmrm0",
		TbotYAML: "version: v2", Systemd: 252, Vars: map[string]any{"site": "fra"},
	}
}

func TestEveryTemplateRendersWithItsMarkOnTop(t *testing.T) {
	set, err := templates.Load("")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range templates.Names() {
		out, err := set.Render(name, data())
		if err != nil || !strings.HasPrefix(string(out), templates.Marker) || !strings.HasSuffix(string(out), "\n") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestTemplatesOfADirectory(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		want, err        string
	}{
		{"replace one", "tbot.service", "[Unit]\nDescription={{.Host}} in {{.Vars.site}}\n", "# Written by fleetctl enroll: test.\n[Unit]\nDescription=web-01 in fra\n", ""},
		{"may use what the default uses", "device.conf", "{{if .ResourceManager}}rm{{end}} {{.Below \"/var/lib\"}}", "rm true", ""},
		{"a name that is none", "tbot.servcie", "", "", "replaces nothing"},
		{"a syntax error", "tbot.service", "{{if}}", "", "tbot.service:1"},
		{"a variable that the host does not have", "tbot.service", "{{.Vars.rack}}", "", "rack"},
		{"a carriage return", "tbot.service", "[Unit]\r\n", "", "carriage return"},
		{"notes are left alone", "README.md", "{{if}}", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := templates.Load(dir)
			var out []byte
			if err == nil && c.file != "README.md" {
				out, err = set.Render(c.file, data())
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(string(out), c.want) {
				t.Errorf("got %s", out)
			}
		})
	}
}

func TestADirectoryThatIsNotThere(t *testing.T) {
	if _, err := templates.Load(filepath.Join(t.TempDir(), "x")); err == nil {
		t.Error("no error")
	}
}
