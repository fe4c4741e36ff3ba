package records

import (
	"context"
	"io"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

// ansibleGroup is a group of an inventory as Ansible's yaml plugin reads it.
type ansibleGroup struct {
	Hosts    map[string]ansibleVars  `yaml:"hosts,omitempty"`
	Children map[string]ansibleGroup `yaml:"children,omitempty"`
}

// ansibleVars are what the records know of a host, as variables of Ansible.
type ansibleVars struct {
	State    string `yaml:"fleetctl_state,omitempty"`
	EKHash   string `yaml:"fleetctl_ek_public_hash,omitempty"`
	Proven   *bool  `yaml:"fleetctl_proven,omitempty"`
	Token    string `yaml:"fleetctl_token,omitempty"`
	Vendor   string `yaml:"fleetctl_tpm_vendor,omitempty"`
	Firmware string `yaml:"fleetctl_tpm_firmware,omitempty"`
	Outcome  string `yaml:"fleetctl_last_outcome,omitempty"`
	Status   string `yaml:"fleetctl_last_status,omitempty"`
	Seen     string `yaml:"fleetctl_last_seen,omitempty"` // RFC 3339
}

// Groups of ToInventory.
const (
	allGroup    = "fleetctl"
	stateGroup  = "fleetctl_state_"
	vendorGroup = "fleetctl_vendor_"
	tokenGroup  = "fleetctl_token_"
)

// ToInventory writes an inventory in Ansible's YAML of the hosts that have records: what is known of each as variables
// fleetctl_…, and groups by state, by vendor of the TPM and by token. It says nothing of how hosts are reached: it is given
// to Ansible beside the inventory that does.
func ToInventory(ctx context.Context, st store.Store, inv []inventory.Host, w io.Writer) error {
	groups := map[string]ansibleGroup{}
	put := func(group, host string, vars ansibleVars) {
		g, ok := groups[group]
		if !ok {
			g = ansibleGroup{Hosts: map[string]ansibleVars{}}
			groups[group] = g
		}
		g.Hosts[host] = vars
	}
	for v, err := range List(ctx, st, inv) {
		if err != nil {
			return err
		}
		vars := varsOf(v)
		put(allGroup, v.Host, vars)
		put(stateGroup+groupName(string(v.State)), v.Host, ansibleVars{})
		if vars.Vendor != "" {
			put(vendorGroup+groupName(vars.Vendor), v.Host, ansibleVars{})
		}
		if v.Token != "" {
			put(tokenGroup+groupName(v.Token), v.Host, ansibleVars{})
		}
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]ansibleGroup{"all": {Children: groups}}); err != nil {
		return err
	}
	return enc.Close()
}

func varsOf(v View) ansibleVars {
	vars := ansibleVars{
		State: string(v.State), EKHash: v.EKHash, Token: v.Token, Outcome: v.Outcome, Status: v.Status,
	}
	if v.EKHash != "" {
		vars.Proven = &v.Proven
	}
	if !v.Seen.IsZero() {
		vars.Seen = v.Seen.UTC().Format(time.RFC3339)
	}
	if v.TPM != nil {
		vars.Vendor, vars.Firmware = text(v.TPM.Manufacturer), text(v.TPM.Firmware)
	}
	return vars
}

// text is what a TPM says of itself, without what would be a template of Ansible's: it comes from the host.
func text(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '{' || r == '}' || r == '%' || r == '#' {
			return -1
		}
		return r
	}, s)
}

// groupName makes a name that Ansible takes for a group's: letters, digits and _.
func groupName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return '_'
	}, strings.TrimSpace(s))
}
