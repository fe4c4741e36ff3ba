package enroll

import (
	"fmt"
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

// TestNothingThatWasDecryptedIsKept: the records keep how a host is reached, and none of its secrets, whatever their names.
func TestNothingThatWasDecryptedIsKept(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"pw": "opensesame",
		"hosts.yml": "all:\n  hosts:\n    h:\n      ansible_port: 22\n      domain: example.com\n      ansible_host: \"{{ inventory_hostname }}.{{ domain }}\"\n" +
			"      ansible_user: " + sealed + "      ansible_ssh_extra_args: \"-o User={{ ansible_user }}\"\n" +
			"      tbot: {user: \"{{ ansible_user }}\"}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := vault.New(vault.Options{Sources: []vault.Source{{From: filepath.Join(dir, "pw")}}})
	inv, err := inventory.Load(t.Context(), []string{filepath.Join(dir, "hosts.yml")}, inventory.Options{PlaybookDir: dir, Vault: keys})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("h")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := hosts[0].Connection(); err != nil || c.User != "opensesame" {
		t.Fatalf("got %+v, %v", c, err)
	}
	kept := reachVars(hosts[0])
	if kept["ansible_port"] != "22" || kept["ansible_host"] != "h.example.com" || len(kept) != 2 {
		t.Errorf("got %v", kept)
	}
	if text := fmt.Sprint(kept); strings.Contains(text, "opensesame") || strings.Contains(text, "{{") {
		t.Errorf("got %v", kept)
	}
}
