package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"
)

// What the fleet.yaml in the lab's directory asks for.
const (
	FleetName = "fleet"          // of the bot and the token
	DiagAddr  = "127.0.0.1:3001" // of tbot on each host
)

// WriteFiles writes what a user of fleetctl would have into a directory: inventory.yaml with the lab's hosts, fleet.yaml
// for a bot and a token of that name, and the CA that it lists.
func (l *Lab) WriteFiles(dir, name string) error {
	return errors.Join(
		writeYAML(filepath.Join(dir, "inventory.yaml"), l.inventory()),
		writeYAML(filepath.Join(dir, "fleet.yaml"), l.fleet(name)),
		l.copyCA(dir),
	)
}

// writeTctl writes the configuration by which tctl finds the auth service.
func (l *Lab) writeTctl() error {
	return writeYAML(l.tctlConfig(), map[string]any{"teleport": map[string]any{"data_dir": filepath.Join(l.dir, "cluster")}})
}

func writeYAML(path string, doc any) error {
	data, err := yaml.Marshal(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// copyCA puts the issuer of the lab's EK certificates where fleet.yaml names it.
func (l *Lab) copyCA(dir string) error {
	pem, err := os.ReadFile(l.ca.Issuer())
	if errors.Is(err, os.ErrNotExist) {
		return nil // no host of this lab has an EK certificate
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "tpm-ca.pem"), pem, 0o644)
}

func (l *Lab) writeKnownHosts() error {
	var text []byte
	var other string
	for _, h := range l.Hosts {
		other = h.hostKey
	}
	for i, h := range l.Hosts {
		key := h.hostKey
		if h.Spec.WrongHostKey { // any other host's key will do
			key = other
			if i == len(l.Hosts)-1 {
				key = l.Hosts[0].hostKey
			}
		}
		text = fmt.Appendf(text, "%s %s\n", h.IP, key)
	}
	return os.WriteFile(filepath.Join(l.Dir, "known_hosts"), text, 0o644)
}

// inventory has every host in the group that its spec names.
func (l *Lab) inventory() any {
	children := map[string]map[string]map[string]any{}
	for _, h := range l.Hosts {
		vars := map[string]any{"ansible_host": h.IP, "ansible_user": h.User}
		if h.User == Careful {
			vars["ansible_become_password"] = CarefulPass
		}
		for key, value := range h.Spec.Vars {
			vars[key] = value
		}
		if children[h.Spec.Group] == nil {
			children[h.Spec.Group] = map[string]map[string]any{"hosts": {}}
		}
		children[h.Spec.Group]["hosts"][h.Name] = vars
	}
	return map[string]any{"all": map[string]any{
		"vars": map[string]any{
			"ansible_ssh_private_key_file": l.Key,
			"ansible_ssh_common_args":      "-F none -o UserKnownHostsFile=" + filepath.Join(l.Dir, "known_hosts"),
		},
		"children": children,
	}}
}

// fleet is a fleet.yaml for the stand-ins: the CA-checked token, and the hash-only one for hosts whose certificate does
// not verify.
func (l *Lab) fleet(name string) any {
	return map[string]any{
		"version":   "v1",
		"inventory": "inventory.yaml",
		"cluster":   map[string]any{"auth_server": l.AuthAddr},
		"bot":       map[string]any{"name": name, "roles": []string{"access"}},
		"token": map[string]any{
			"name": name, "ekcert_cas": []string{"tpm-ca.pem"}, "without_ekcert": "hash-only",
		},
		"tbot": map[string]any{
			"install": map[string]any{"from": "none"}, "user": "teleport", "group": "teleport", "diag_addr": DiagAddr,
		},
		"rollout": map[string]any{"forks": 20, "canary": 1, "batch": "50%", "max_failures": "100%"},
	}
}
