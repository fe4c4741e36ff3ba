package records

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// TestWhatHostsSayIsNoTemplateOfAnsible: what a TPM calls itself comes from the host, and Ansible evaluates variables.
func TestWhatHostsSayIsNoTemplateOfAnsible(t *testing.T) {
	t.Parallel()
	evil := "{{ lookup('pipe', 'id') }}\n{% x %}{# y #}\x1b"
	v := varsOf(View{State: outcome.StateAccepted, TPM: &tpm.Details{Properties: tpm.Properties{Manufacturer: evil, Firmware: evil}}})
	if s := v.Vendor + v.Firmware; strings.ContainsAny(s, "{}%#\n\x1b") || s == "" {
		t.Errorf("it is %q", s)
	}
	if got := groupName("a-b c.d{{é}}"); got != "a_b_c_d_____" {
		t.Errorf("a group %q", got)
	}
}

func TestAnsibleReadsWhatTheRecordsKnow(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("ansible-inventory")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	var texts []string
	for i, host := range []string{"web-01", "yes", "10.0.0.1", "null"} { // names that YAML takes for something else
		texts = append(texts, `{"host":"`+host+`","ek_public_hash":"`+enrolltest.Hash(i+1)+`"}`)
	}
	if _, err := Import(t.Context(), st, strings.NewReader(strings.Join(texts, "\n")), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := ToInventory(t.Context(), st, nil, &out); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "records.yaml")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	listed, err := exec.Command(program, "-i", file, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Meta struct {
			Hostvars map[string]map[string]any `json:"hostvars"`
		} `json:"_meta"`
		Fleet struct {
			Hosts []string `json:"hosts"`
		} `json:"fleetctl"`
	}
	if err := json.Unmarshal(listed, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Fleet.Hosts, []string{"10.0.0.1", "null", "web-01", "yes"}) || got.Meta.Hostvars["yes"]["fleetctl_proven"] != false ||
		got.Meta.Hostvars["web-01"]["fleetctl_ek_public_hash"] != enrolltest.Hash(1) {
		t.Errorf("Ansible reads %s", listed)
	}
}
