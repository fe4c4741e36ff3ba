//go:build linux

package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
)

// newClientKey makes the key that may log in to every host.
func newClientKey() (public ssh.PublicKey, private []byte, err error) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, fmt.Errorf("client key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "fleetsim")
	if err != nil {
		return nil, nil, fmt.Errorf("client key: %w", err)
	}
	public, err = ssh.NewPublicKey(pub)
	return public, pem.EncodeToMemory(block), err
}

// writeController writes the files that a controller works with.
func writeController(s spec, p *process, closed map[string]int, clientKey []byte) error {
	inventory, err := inventoryFile(s, p, closed)
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	known, err := knownHosts(s.Hosts, p.port, closed)
	if err != nil {
		return fmt.Errorf("known_hosts: %w", err)
	}
	for _, f := range []struct {
		name string
		mode os.FileMode
		text []byte
	}{
		{"id_ed25519", 0o600, clientKey},
		{"known_hosts", 0o644, known},
		{"tpm-cas.pem", 0o644, s.CA.pem()},
		{"fleet.yaml", 0o644, []byte(fleetFile)},
		{"inventory.yaml", 0o644, inventory}, // the last: who waits for it finds the others
	} {
		path := filepath.Join(s.Dir, f.name)
		if err := os.WriteFile(path+".tmp", f.text, f.mode); err != nil {
			return err
		}
		if err := os.Rename(path+".tmp", path); err != nil {
			return err
		}
	}
	return nil
}

// group and the like are Ansible's YAML inventory.
type group struct {
	Vars     map[string]any            `yaml:"vars,omitempty"`
	Hosts    map[string]map[string]any `yaml:"hosts,omitempty"`
	Children map[string]group          `yaml:"children,omitempty"`
}

func inventoryFile(s spec, p *process, closed map[string]int) ([]byte, error) {
	all := group{
		Vars: map[string]any{
			"ansible_user":                 "root",
			"ansible_port":                 p.port,
			"ansible_ssh_private_key_file": filepath.Join(s.Dir, "id_ed25519"),
			"ansible_ssh_common_args":      "-o UserKnownHostsFile=" + filepath.Join(s.Dir, "known_hosts"),
		},
		Children: map[string]group{},
	}
	if p.isolated && s.Swtpm != "" {
		all.Vars["tpm_device"] = "/run/tpm.sock"
	}
	for _, h := range s.Hosts {
		vars := map[string]any{"ansible_host": h.Addr.String()}
		if port, ok := closed[h.Name]; ok {
			vars["ansible_port"] = port
		}
		if !p.isolated && s.Swtpm != "" {
			vars["tpm_device"] = filepath.Join(s.Dir, "hosts", tpmSocket(h.Name))
		}
		if all.Children[h.Group].Hosts == nil {
			all.Children[h.Group] = group{Hosts: map[string]map[string]any{}}
		}
		all.Children[h.Group].Hosts[h.Name] = vars
	}
	var b bytes.Buffer
	b.WriteString("# A simulated fleet, written by fleetsim; it lives as long as fleetsim runs.\n")
	out := yaml.NewEncoder(&b)
	out.SetIndent(2)
	err := out.Encode(map[string]group{"all": all})
	return b.Bytes(), err
}

// knownHosts lists every host's key, and a wrong one for hosts whose key has changed.
func knownHosts(fleet []host, port int, closed map[string]int) ([]byte, error) {
	var b bytes.Buffer
	for _, h := range fleet {
		public := h.Key.Public().(ed25519.PublicKey)
		if h.Condition == changedKey {
			var err error
			if public, _, err = ed25519.GenerateKey(nil); err != nil {
				return nil, err
			}
		}
		key, err := ssh.NewPublicKey(public)
		if err != nil {
			return nil, err
		}
		at := port
		if p, ok := closed[h.Name]; ok {
			at = p
		}
		fmt.Fprintf(&b, "[%s]:%d %s", h.Addr, at, ssh.MarshalAuthorizedKey(key))
	}
	return b.Bytes(), nil
}

const fleetFile = `# Settings for the simulated fleet, written by fleetsim.
version: v1
inventory: inventory.yaml
cluster:
  proxy_server: teleport.example.com:443   # there is none: the demo stops before it is needed
  verify: host                             # no cluster hears of these hosts
bot:
  name: fleet
  roles: [fleet-access]
token:
  name: fleet
  ekcert_cas: [tpm-cas.pem]
  without_ekcert: hash-only
tbot:
  install: {from: none}
  user: teleport
  group: teleport
  services: []
`
