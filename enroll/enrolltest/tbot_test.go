package enrolltest

import (
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/remote"
)

// write puts a file on a host, as root.
func write(t *testing.T, c *remote.Conn, path, content string) {
	t.Helper()
	if err := c.WriteFile(t.Context(), remote.File{Path: path, Content: []byte(content), Mode: 0o644, Owner: "root", Group: "root"}, true); err != nil {
		t.Fatal(err)
	}
}

const (
	plainUnit = "[Service]\nUser=root\nExecStart=/usr/local/bin/tbot start -c /etc/tbot.yaml\n"
	plainYAML = "version: v2\nproxy_server: t.example.com:443\nonboarding: {join_method: tpm, token: fleet}\n" +
		"storage: {type: directory, path: /var/lib/bot}\n"
)

func TestTbotSaysWhatItsVersionSays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, version, unit, yaml string
		change                    func(*Host, *memcluster.Cluster)
		state, log                string
	}{
		{name: "it joins", version: "18.4.0", state: "joined"},
		{name: "a flag that came later", version: "17.7.9", unit: strings.Replace(plainUnit, "yaml", "yaml --pid-file=/run/x", 1),
			state: "restarting", log: "\x1b[31mERROR: \x1b[0munknown long flag '--pid-file'"},
		{name: "the flag where it is known", version: "17.7.10", unit: strings.Replace(plainUnit, "yaml", "yaml --pid-file=/run/x", 1), state: "joined"},
		{name: "the flag between the versions", version: "18.3.9", unit: strings.Replace(plainUnit, "yaml", "yaml --pid-file=/run/x", 1), state: "restarting"},
		{name: "an unknown key in a strict version", version: "17.2.7", yaml: plainYAML + "credential_ttl: 1h\n", state: "restarting",
			log: "\tfailed parsing config file: yaml: unmarshal errors:  line 5: field credential_ttl not found in type config.BotConfig"},
		{name: "an unknown key that is ignored", version: "17.2.8", yaml: plainYAML + "typo: 1h\n", state: "joined"},
		{name: "an unknown service", version: "16.0.4", yaml: plainYAML + "services: [{type: identity}]\n", state: "restarting",
			log: "\tfailed parsing config file: unrecognized service type (identity)"},
		{name: "no token", version: "18.4.0", change: func(_ *Host, c *memcluster.Cluster) { c.Delete("token/fleet") }, state: "restarting",
			log: "\t\"web-01\" can not join the cluster with role \"Bot\", token expired or not found"},
		{name: "no rule", version: "18.4.0", change: func(h *Host, _ *memcluster.Cluster) { h.TPM.Number = 1; h.TPM.Key, _ = softtpm.EkKey(1) }, state: "restarting",
			log: "\tvalidated tpm attributes did not match any allow rules"},
		{name: "no TPM", version: "18.4.0", change: func(h *Host, _ *memcluster.Cluster) { h.TPM = nil }, state: "restarting", log: "\tTPM device not available"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, cluster := newHost(t, tt.version)
			c := dial(t, h, nil)
			for path, text := range map[string]string{"/etc/systemd/system/tbot.service": or(tt.unit, plainUnit), "/etc/tbot.yaml": or(tt.yaml, plainYAML)} {
				write(t, c, path, text)
			}
			if tt.change != nil {
				tt.change(h, cluster)
			}
			run(t, c, "mkdir -p /var/lib/bot\nsystemctl daemon-reload\nsystemctl restart tbot.service")
			needs(t, run(t, c, fixture(t, "verify.sh")), "state="+tt.state)
			h.With(func(s *State) {
				all := ""
				for _, line := range s.Service.Journal {
					all += line.Text + "\n"
				}
				if !strings.Contains("\n"+all, "\n"+tt.log) {
					t.Errorf("the journal has no %q:\n%s", tt.log, all)
				}
			})
		})
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func TestARefusedRenewalEndsOldTbotsAlone(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"17.5.2": "000",
		"17.5.3": "200", // that is what its /readyz says
		"17.5.4": "503",
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			h, cluster := newHost(t, version)
			c := dial(t, h, nil)
			write(t, c, "/etc/systemd/system/tbot.service", plainUnit)
			write(t, c, "/etc/tbot.yaml", plainYAML+"diag_addr: 127.0.0.1:3001\n")
			run(t, c, "mkdir -p /var/lib/bot\nsystemctl enable --quiet tbot.service\nsystemctl restart tbot.service")
			verify := strings.Replace(fixture(t, "verify.sh"), "DIAGPORT=''", "DIAGPORT=3001", 1)
			needs(t, run(t, c, verify), "state=joined")
			cluster.Delete("token/fleet")
			h.With(func(s *State) { s.Service.Journal = nil })
			run(t, c, "systemctl restart tbot.service")
			code, _ := h.ready("3001", "/readyz")
			if code != want {
				t.Errorf("/readyz says %s", code)
			}
			needs(t, run(t, c, verify), map[bool]string{true: "state=restarting", false: "state=not-joined"}[want == "000"])
			admit(t, cluster, "", h.TPM.EKHash())
			h.Tick()
			needs(t, run(t, c, verify), "state=joined")
		})
	}
}
