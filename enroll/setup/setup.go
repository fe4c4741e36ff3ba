// Package setup looks for what a fleet.yaml can be made of: an inventory near by, the profile of tsh, the cluster that tctl is
// logged in to. It asks nobody, writes nothing and runs nothing but tctl.
package setup

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fleetctl/enroll/proxy"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/versions"
)

// How long tctl and a proxy may take to answer, each.
const askLimit = 15 * time.Second

// Options say where to look.
type Options struct {
	Dir string // the directory that fleet.yaml will be in
	Tsh string // the directory of tsh's profiles; "" for none

	Ansible       []string // the inventories of Ansible's own settings
	AnsibleSource string   // where they are set

	Tctl *tctl.Tctl                                                   // nil: there is none
	Ask  func(ctx context.Context, addr string) (proxy.Answer, error) // nil: proxy.Ask
}

// Value is a value of fleet.yaml that was found.
type Value struct {
	Text  string // "" for none
	From  string // where it is from, for people
	Guess bool   // it may well be another one
}

// Found is what there is.
type Found struct {
	Inventory Value
	Others    []string // inventories that it could be, too

	Proxy Value

	Cluster string           // the name of the cluster; "" where nobody tells it
	Version versions.Version // of the cluster; zero where nobody tells it
	TctlErr error            // why tctl tells nothing; nil: it does, or there is none
	Tctl    bool             // tctl is logged in to the cluster
}

// Look looks around.
func Look(ctx context.Context, opts Options) Found {
	var f Found
	f.lookForInventory(opts)
	f.askTctl(ctx, opts.Tctl)
	f.lookForProxy(ctx, opts)
	return f
}

func (f *Found) askTctl(ctx context.Context, t *tctl.Tctl) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	cluster, version, err := t.Status(ctx)
	if err != nil {
		f.TctlErr = err
		return
	}
	f.Tctl, f.Cluster, f.Version = true, cluster.Name, version
}

// lookForProxy takes the proxy that tsh is logged in to. Without one, a proxy that answers under the cluster's name is probably it:
// that is where hosted clusters have theirs.
func (f *Found) lookForProxy(ctx context.Context, opts Options) {
	var candidate Value
	if p, file, ok := currentProfile(opts.Tsh); ok {
		candidate = Value{Text: p.WebProxyAddr, From: "the profile of tsh, " + file}
	} else if strings.Contains(f.Cluster, ".") {
		candidate = Value{
			Text: net.JoinHostPort(f.Cluster, "443"), From: "the name of tctl's cluster, whose proxy answers there", Guess: true,
		}
	} else {
		return
	}
	ask := opts.Ask
	if ask == nil {
		ask = proxy.Ask
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	answer, err := ask(ctx, candidate.Text)
	f.Proxy = f.judge(candidate, answer, err)
}

// judge holds a proxy against what it answered.
func (f *Found) judge(candidate Value, a proxy.Answer, err error) Value {
	another := err == nil && f.Cluster != "" && a.Cluster != "" && a.Cluster != f.Cluster
	switch {
	case candidate.Guess && (err != nil || another):
		return Value{}
	case another: // tsh and tctl are logged in to two clusters
		candidate.Guess = true
		candidate.From += ", which is a proxy of cluster " + a.Cluster + ", while tctl speaks to " + f.Cluster
	case err == nil && f.Cluster == "":
		f.Cluster, f.Version = a.Cluster, a.Version
	}
	return candidate
}

// lookForInventory takes the one that Ansible would, else what lies in the directory under a usual name.
func (f *Found) lookForInventory(opts Options) {
	if len(opts.Ansible) > 0 {
		f.Inventory = Value{Text: Relative(opts.Dir, opts.Ansible[0]), From: opts.AnsibleSource}
		for _, other := range opts.Ansible[1:] {
			f.Others = append(f.Others, Relative(opts.Dir, other))
		}
		return
	}
	names := usualInventories(opts.Dir)
	if len(names) == 0 {
		if names = inDirectory(opts.Dir, "inventories"); len(names) != 1 { // which of several is meant, nobody can know
			f.Others = names
			return
		}
	}
	f.Others = names[1:]
	f.Inventory = Value{Text: names[0], From: "the directory that it is in", Guess: len(names) > 1}
	if f.Inventory.Guess {
		f.Inventory.From = "the likeliest name of those that are here"
	}
}

// usualInventories are files and directories with the names that inventories have, the likeliest first.
func usualInventories(dir string) (found []string) {
	for _, base := range []string{"inventory", "hosts"} {
		for _, ext := range []string{"", ".yaml", ".yml", ".ini", ".json", ".py", ".sh"} {
			if exists(filepath.Join(dir, base+ext)) {
				found = append(found, base+ext)
			}
		}
		others, err := filepath.Glob(filepath.Join(dir, base+"?*"))
		if err != nil {
			continue // only a bad pattern is an error
		}
		for _, o := range others {
			name := filepath.Base(o)
			if strings.ContainsRune("-_.", rune(name[len(base)])) && !ignored(name) && !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	return found
}

// inDirectory are the inventories in a directory of several.
func inDirectory(dir, sub string) (found []string) {
	entries, err := os.ReadDir(filepath.Join(dir, sub))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if name := e.Name(); !ignored(name) && name != "group_vars" && name != "host_vars" {
			found = append(found, filepath.Join(sub, name))
		}
	}
	return found
}

// ignored is what Ansible passes over in a directory of inventories (INVENTORY_IGNORE_EXTS), and what is hidden.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") ||
		slices.Contains([]string{
			".pyc", ".pyo", ".swp", ".bak", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry", ".example", ".sample", ".tmp",
		}, filepath.Ext(name))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Relative is the path of an inventory as it is written in a file of the directory: as it is, where it lies elsewhere, or is none.
func Relative(dir, source string) string {
	from, err := filepath.Abs(dir)
	if err != nil || strings.HasSuffix(source, ",") || source == "-" {
		return source
	}
	path, err := filepath.Abs(source)
	if err != nil {
		return source
	}
	if rel, err := filepath.Rel(from, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return rel
	}
	return path
}
