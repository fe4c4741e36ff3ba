package tbot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// newTitle is where the unit's description changes (versions.md, A: 18.6.4, inferred).
const newTitle = "18.6.4"

// installSystemd prints the unit that tbot would run under, or writes it with --write: tool/tbot/systemd.go@39b97bd5.
func (t *tool) installSystemd(args []string) error {
	c := cli.Command{Name: "tbot install systemd", Flags: append([]cli.Flag{{Name: "config", Short: 'c'}}, debugFlags...)}
	for _, flag := range versions.List("tbot.install_systemd.flags") {
		name := strings.TrimPrefix(flag, "--")
		c.Flags = append(c.Flags, cli.Flag{Name: name, Bool: slices.Contains([]string{"force", "write", "anonymous-telemetry"}, name)})
	}
	if versions.Has("tbot.install_systemd.pid_file_flag", t.V) {
		c.Flags = append(c.Flags, cli.Flag{Name: "pid-file"})
	}
	given, err := c.Parse(args)
	if err != nil {
		return err
	}
	if !given.Has("config") {
		return cli.Unscripted("tbot install systemd without -c")
	}
	unit, err := t.unit(given)
	if err != nil {
		return err
	}
	if !given.True("write") {
		_, err := t.stdout.Write(unit)
		return err
	}
	dir := or(given.Text("systemd-directory"), "/etc/systemd/system")
	return writeUnit(filepath.Join(dir, or(given.Text("name"), "tbot")+".service"), unit, given.True("force"))
}

// writeUnit replaces another file only if it is told to. The words are ours.
func writeUnit(path string, unit []byte, force bool) error {
	old, err := os.ReadFile(path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && bytes.Equal(old, unit):
		return nil
	case err == nil && !force:
		return fmt.Errorf("file %s already exists and differs, use --force to replace it", path)
	}
	return os.WriteFile(path, unit, 0o644)
}

// unit is the text of systemd.tmpl@af0c6c0d, and of the goldens @8795f0c8 and @e6b085e3.
func (t *tool) unit(given cli.Given) ([]byte, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	name := or(given.Text("name"), "tbot")
	pidFile := or(given.Text("pid-file"), "/run/"+name+".pid")
	title, passes, telemetry := "Teleport Machine ID Service", "", 0
	if t.Compare(versions.Must(newTitle)) >= 0 {
		title = "Teleport Machine & Workload Identity Service"
	}
	if versions.Has("tbot.install_systemd.unit_passes_pid_file", t.V) {
		passes = " --pid-file=" + pidFile
	}
	if given.True("anonymous-telemetry") {
		telemetry = 1
	}
	return fmt.Appendf(nil, `%s
[Unit]
Description=%s - %s
After=network.target

[Service]
Type=simple
User=%s
Group=%s
Restart=always
RestartSec=5
Environment="TELEPORT_ANONYMOUS_TELEMETRY=%d"
ExecStart=%s start -c %s%s
ExecReload=/bin/kill -HUP $MAINPID
PIDFile=%s
LimitNOFILE=524288

[Install]
WantedBy=multi-user.target
`, versions.Text("tbot.install_systemd.header"), name, title, or(given.Text("user"), "teleport"), or(given.Text("group"), "teleport"),
		telemetry, binary, given.Text("config"), passes, pidFile), nil
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
