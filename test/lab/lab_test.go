package lab_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// within bounds what a test waits for; it is no promise about speed.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestByHand does on two hosts what enrolling does, with OpenSSH, sudo and tctl alone.
func TestByHand(t *testing.T) {
	ctx := within(t)
	l := lab.Up(t, lab.Spec{Name: "web-01"}, lab.Spec{Name: "nocert-01", TPM: lab.NoEKCert},
		lab.Spec{Name: "notpm-01", TPM: lab.NoTPM}, lab.Spec{Name: "tss-01", TSS: true})
	ssh := func(host, script string) string {
		t.Helper()
		out, err := l.SSH(ctx, l.Host(host), script)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	rules := ""
	for _, name := range []string{"web-01", "nocert-01", "tss-01"} {
		said := ssh(name, "sudo -n tbot tpm identify")
		_, rest, _ := strings.Cut(said, "EKPub Hash: ")
		hash, _, _ := strings.Cut(rest, "\n")
		rules += "    - {description: " + name + ", ek_public_hash: \"" + hash + "\"}\n"
		if has := strings.Contains(said, "Detected: true"); has != (name != "nocert-01") {
			t.Errorf("%s: %s", name, said)
		}
	}
	if _, err := l.SSH(ctx, l.Host("notpm-01"), "sudo -n tbot tpm identify"); err == nil {
		t.Error("a host without TPM identified one")
	}
	write(t, filepath.Join(l.Dir, "token.yaml"), "kind: bot\nversion: v1\nmetadata: {name: fleet}\nspec: {roles: [access]}\n"+
		"---\nkind: token\nversion: v2\nmetadata: {name: fleet}\nspec:\n  roles: [Bot]\n  join_method: tpm\n"+
		"  bot_name: fleet\n  tpm:\n    allow:\n"+rules)
	if out, err := l.Command(ctx, "tctl", "create", "-f", "token.yaml").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before, err := l.Host("tss-01").Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	ssh("web-01", install("root"))
	ssh("tss-01", "sudo useradd --system --no-create-home --groups tss teleport && "+install("teleport"))
	for _, name := range []string{"web-01", "tss-01"} {
		ssh(name, "tbot wait --diag-addr 127.0.0.1:3001 --timeout 60s && systemctl is-active tbot")
	}
	joined, err := l.Store.JoinedHashes("fleet")
	if err != nil || len(joined) != 2 {
		t.Errorf("joined: %v, %v", joined, err)
	}
	after, err := l.Host("tss-01").Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	came := func(line string) bool { return strings.HasPrefix(line, "+ /etc/tbot.yaml -rw") }
	if diff := before.Diff(after); !slices.ContainsFunc(diff, came) {
		t.Errorf("the snapshots differ in:\n%s", strings.Join(diff, "\n"))
	}
	reboots(t, l, "tss-01")
}

// reboots checks that a host comes back with its service, and its TPM's device as the rules want it.
func reboots(t *testing.T, l *lab.Lab, name string) {
	ctx, h := within(t), l.Host(name)
	if err := h.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Exec(ctx, "tbot", "wait", "--diag-addr", "127.0.0.1:3001", "--timeout", "60s"); err != nil {
		t.Error(out, err)
	}
	h.Kill()
	if _, err := h.Exec(ctx, "true"); err == nil {
		t.Error("a host that was killed runs commands")
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if err := h.WaitSSH(ctx); err != nil {
		t.Error(err)
	}
}

// install is what a person would type to run tbot as a user.
func install(user string) string {
	return `sudo sh -eu <<'END'
install -d -m 0700 -o ` + user + ` /var/lib/teleport/bot
cat >/etc/tbot.yaml <<'TBOT'
version: v2
auth_server: 10.77.0.1:3025
onboarding: {join_method: tpm, token: fleet}
storage: {type: directory, path: /var/lib/teleport/bot}
diag_addr: 127.0.0.1:3001
services: []
TBOT
cat >/etc/systemd/system/tbot.service <<'UNIT'
[Service]
User=` + user + `
ExecStart=/usr/local/bin/tbot start -c /etc/tbot.yaml --pid-file=/run/tbot/tbot.pid
RuntimeDirectory=tbot
ProtectSystem=strict
ReadWritePaths=/var/lib/teleport/bot
DevicePolicy=closed
DeviceAllow=char-tpm rw
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now tbot 2>&1
END`
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestHostsThatAreNotAsTheyShould(t *testing.T) {
	ctx := within(t)
	l := lab.Up(t, lab.Spec{Name: "changed-01", WrongHostKey: true, TPM: lab.NoTPM},
		lab.Spec{Name: "down-01", Down: true}, lab.Spec{Name: "clone-01"}, lab.Spec{Name: "clone-02", CloneOf: "clone-01"},
		lab.Spec{Name: "sudo-01", User: lab.Careful, TPM: lab.NoTPM, NoTbot: true})
	for _, c := range []struct{ host, script, want string }{
		{"changed-01", "true", "HOST IDENTIFICATION HAS CHANGED"},
		{"down-01", "true", "No route to host"},
		{"sudo-01", "sudo -n true", "password is required"},
		{"sudo-01", "command -v tbot || echo none", "none"},
		{"sudo-01", "echo '" + lab.CarefulPass + "' | sudo -S id -un", "root"},
	} {
		if out, _ := l.SSH(ctx, l.Host(c.host), c.script); !strings.Contains(out, c.want) {
			t.Errorf("%s: %s: %q, want %q", c.host, c.script, out, c.want)
		}
	}
	one, err1 := l.Host("clone-01").Exec(ctx, "tbot", "tpm", "identify")
	two, err2 := l.Host("clone-02").Exec(ctx, "tbot", "tpm", "identify")
	if err1 != nil || err2 != nil || one != two {
		t.Errorf("the clone is another TPM: %s %s %v %v", one, two, err1, err2)
	}
}
