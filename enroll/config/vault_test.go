package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/inventory"
	"fleetctl/inventory/vault"
)

// What ansible-vault made of "opensesame" with the password opensesame, as a value for YAML.
const sealed = `!vault |
        $ANSIBLE_VAULT;1.1;AES256
        37303235663438616265363137373962356538306638383736323537656535313736326138643531
        6131373866356238306432616634643866633037303636330a633930393336303865613238323565
        36373065323861353333616438356231346230643861333439666461343432646430313262613165
        3863336538343838620a663935336537356436356137393563326165646339393664666633333136
        3038
`

// sealedHost is a host with these variables, which are YAML of eight blanks, and the password.
func sealedHost(t *testing.T, vars string) inventory.Host {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "pw"), "opensesame")
	file := filepath.Join(dir, "hosts.yml")
	writeFile(t, file, "all:\n  hosts:\n    h:\n"+vars)
	keys := vault.New(vault.Options{Sources: []vault.Source{{From: filepath.Join(dir, "pw")}}})
	inv, err := inventory.Load(t.Context(), []string{file}, inventory.Options{PlaybookDir: dir, Vault: keys})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("h")
	if err != nil {
		t.Fatal(err)
	}
	return hosts[0]
}

func TestPublicVarsLeaveOutWhatIsEncrypted(t *testing.T) {
	h := sealedHost(t, "      rack: r1\n      app_key: "+sealed+"      nested: {a: [{b: x}]}\n      deep:\n        a: "+
		strings.ReplaceAll(sealed, "        ", "          ")+"      of: \"{{ app_key }}\"\n")
	got := PublicVars(h.Vars)
	if len(got) != 3 || got["rack"] != "r1" || got["nested"] == nil || got["of"] != "{{ app_key }}" {
		t.Errorf("got %v", got)
	}
}

func TestOurVariablesAreDecryptedAndEvaluated(t *testing.T) {
	h := sealedHost(t, "      bots: fleet\n      fleetctl_bot: \"{{ bots }}-{{ inventory_hostname }}\"\n      fleetctl_same_as: "+sealed+
		"      tbot: {storage: \"/var/{{ bots }}\"}\n")
	v, err := Host(h)
	if err != nil || v.Bot == nil || v.Bot.Name != "fleet-h" || v.SameAs != "opensesame" {
		t.Fatalf("got %+v, %v", v, err)
	}
	if tbot, err := v.Tbot(Default().Tbot); err != nil || tbot.Storage != "/var/fleet" {
		t.Errorf("got %+v, %v", tbot, err)
	}
}

func TestMistakesInOurVariablesShowNothingThatWasDecrypted(t *testing.T) {
	for name, vars := range map[string]string{
		"tpm_device":          "      tpm_device: " + sealed,
		"fleetctl_bot":        "      fleetctl_bot: [{}]\n      x: " + sealed,
		"fleetctl_bot, named": "      s: " + sealed + "      fleetctl_bot: {name: [\"{{ s }}\"]}\n",
		"tbot":                "      s: " + sealed + "      tbot: {storage: [\"{{ s }}\"]}\n",
		"tbot, a path":        "      s: " + sealed + "      tbot: {storage: \"{{ s }}\"}\n",
	} {
		v, err := Host(sealedHost(t, vars))
		if err == nil {
			_, err = v.Tbot(Default().Tbot)
		}
		if err == nil || errors.Is(err, inventory.ErrSealed) || strings.Contains(err.Error(), "opensesame") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
