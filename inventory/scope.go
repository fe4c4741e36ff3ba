package inventory

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"fleetctl/inventory/jinja"
	"fleetctl/inventory/values"
	"fleetctl/inventory/vault"
)

// maxFile bounds what a lookup reads.
const maxFile = 1 << 20

// scopes has what the expressions of all hosts of an inventory see. It is for several goroutines.
type scopes struct {
	inv *Inventory
	dir string // the playbook directory

	defaults map[string]any // of variables that nothing sets

	mu       sync.Mutex
	resolver *resolver
	hosts    map[string]*jinja.Scope // by name; the first ones that were asked for
	groups   func() map[string]any
}

func newScopes(inv *Inventory, opts Options) *scopes {
	return &scopes{
		inv: inv, dir: playbookDir(opts), defaults: opts.Defaults, resolver: inv.resolver(), hosts: map[string]*jinja.Scope{},
		groups: sync.OnceValue(inv.graph.members),
	}
}

// members are the names of the hosts in each group, those of its children included.
func (g *graph) members() map[string]any {
	all := make(map[string]any, len(g.groupOrder))
	for _, grp := range g.groupOrder {
		all[grp.name] = hostNames(hostsBelow(grp))
	}
	return all
}

// scope is what the expressions of the host see. A host of no inventory sees its own variables alone.
func (h Host) scope() *jinja.Scope {
	s := h.scopes
	if s == nil {
		s = &scopes{inv: &Inventory{}, dir: ".", groups: func() map[string]any { return nil }}
	}
	return &jinja.Scope{
		Var: func(name string) (any, bool) {
			if v, ok := s.magic(h, name); ok {
				return v, true
			}
			v, ok := h.Vars[name]
			return v, ok
		},
		Host: s.host,
		Open: s.inv.keys.open,
		Env:  os.Getenv,
		File: s.file,
	}
}

// magic is a variable that Ansible sets, whatever the user wrote.
func (s *scopes) magic(h Host, name string) (any, bool) {
	switch name {
	case "inventory_hostname":
		return jinja.Plain{Value: h.Name}, true
	case "inventory_hostname_short":
		short, _, _ := strings.Cut(h.Name, ".")
		return jinja.Plain{Value: short}, true
	case "group_names":
		names := make([]any, len(h.Groups))
		for i, name := range h.Groups {
			names[i] = name
		}
		return jinja.Plain{Value: names}, true
	case "groups":
		return jinja.Plain{Value: s.groups()}, true
	case "playbook_dir":
		dir, err := filepath.Abs(s.dir)
		return jinja.Plain{Value: dir}, err == nil
	case "inventory_file", "inventory_dir":
		return h.source(name == "inventory_dir"), true
	}
	return nil, false
}

// source is the file in which the host was first named, or its directory; nil where it is no file.
func (h Host) source(dir bool) any {
	file, err := filepath.Abs(strings.TrimSuffix(h.Pos.File, " --list"))
	if _, statErr := os.Stat(file); err != nil || statErr != nil {
		return nil
	}
	if dir {
		file = filepath.Dir(file)
	}
	return jinja.Plain{Value: file}
}

// host is the scope of another host of the inventory.
func (s *scopes) host(name string) (*jinja.Scope, bool) {
	if s.inv.graph == nil {
		return nil, false
	}
	h, ok := s.inv.graph.hosts[name]
	if !ok {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if scope := s.hosts[name]; scope != nil {
		return scope, true
	}
	scope := s.resolver.host(h).scope()
	if len(s.hosts) < maxLayers {
		s.hosts[name] = scope
	}
	return scope, true
}

// file is the content of a file for lookup('file'): below files of the playbook directory, or in the directory itself.
func (s *scopes) file(path string) (any, error) {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(home, rest)
	}
	places := []string{path}
	if !filepath.IsAbs(path) {
		places = []string{filepath.Join(s.dir, "files", path), filepath.Join(s.dir, path)}
	}
	for _, place := range places {
		content, err := readFile(place)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && vault.IsEncrypted(content) {
			return values.Vault{Text: content, Place: place}, nil
		}
		return content, err
	}
	return nil, fmt.Errorf("looks up the file %s, which doesn't exist (looked at: %s)", path, strings.Join(places, ", "))
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("looks up the file %s: %w", path, bare(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("looks up the file %s: %w", path, bare(err))
	}
	if len(data) > maxFile {
		return "", fmt.Errorf("looks up the file %s, which has more than %d KiB", path, maxFile>>10)
	}
	return string(data), nil
}
