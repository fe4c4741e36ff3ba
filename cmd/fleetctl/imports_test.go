package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the house as data: which of our packages each package may import, to the letter (docs/architecture.md):
// calls go down, never up, and never to a room beside. What is not here may not be there.
var mayImport = map[string][]string{
	"fleetctl/inventory":            {"inventory/jinja", "inventory/values", "inventory/vault"},
	"fleetctl/inventory/ansiblecfg": {},
	"fleetctl/inventory/values":     {},
	"fleetctl/inventory/jinja":      {"inventory/values"},
	"fleetctl/inventory/vault":      {},
	"fleetctl/remote/text":          {},
	"fleetctl/remote/fault":         {},
	"fleetctl/remote/sshconfig":     {"remote/fault", "remote/text"},
	"fleetctl/remote/hostkeys":      {"remote/fault", "remote/sshconfig", "remote/text"},
	"fleetctl/remote/sshfp":         {},
	"fleetctl/remote":               {"remote/fault", "remote/hostkeys", "remote/sshconfig", "remote/text"},
	"fleetctl/templates":            {},
	"fleetctl/enroll/store":         {},
	"fleetctl/enroll/versions":      {},
	"fleetctl/enroll/child":         {"remote/fault"},
	"fleetctl/enroll/proxy":         {"enroll/versions", "remote"},
	"fleetctl/enroll/redact":        {},
	"fleetctl/enroll/halt":          {},
	"fleetctl/enroll/sh":            {},
	"fleetctl/enroll/tpm/wire":      {},
	"fleetctl/enroll/tpm/ekcert":    {},
	"fleetctl/enroll/tpm/device":    {"enroll/tpm/wire"},
	"fleetctl/enroll/tpm/cabundle":  {},
	"fleetctl/enroll/tpm":           {"enroll/sh", "enroll/tpm/cabundle", "enroll/tpm/device", "enroll/tpm/wire"},
	"fleetctl/enroll/outcome":       {"enroll/store", "enroll/tpm", "inventory", "remote"},
	"fleetctl/enroll/config":        {"enroll/outcome", "inventory", "remote"},
	"fleetctl/enroll/setup":         {"enroll/config", "enroll/proxy", "enroll/tctl", "enroll/versions"},
	"fleetctl/enroll/claim":         {"enroll/config", "enroll/outcome", "enroll/store", "inventory"},
	"fleetctl/enroll/work":          {"enroll/config", "enroll/outcome", "enroll/store", "inventory", "remote", "remote/fault"},
	"fleetctl/enroll/tctl":          {"enroll/child", "enroll/config", "enroll/halt", "enroll/outcome", "enroll/versions", "remote"},
	"fleetctl/enroll/scan":          {"enroll/claim", "enroll/config", "enroll/outcome", "enroll/sh", "enroll/store", "enroll/tpm", "enroll/work", "inventory", "remote"},
	"fleetctl/enroll/records":       {"enroll/claim", "enroll/config", "enroll/outcome", "enroll/store", "enroll/tpm", "inventory", "remote"},
	"fleetctl/enroll/token":         {"enroll/claim", "enroll/config", "enroll/outcome", "enroll/store", "enroll/tctl", "enroll/tpm", "enroll/work", "inventory", "remote"},
	"fleetctl/enroll/report":        {"enroll/outcome", "enroll/records", "enroll/store", "enroll/tpm", "inventory", "remote"},
	"fleetctl/enroll/host/diff":     {"remote"},
	"fleetctl/enroll/host/tbotlog":  {"enroll/outcome"},
	"fleetctl/enroll/host/origin":   {"enroll/config", "enroll/outcome", "enroll/versions", "remote"},
	"fleetctl/enroll/doctor": {
		"enroll/config", "enroll/outcome", "enroll/proxy", "enroll/scan", "enroll/store", "enroll/tctl", "enroll/versions", "inventory", "remote",
	},
	"fleetctl/enroll/host": {
		"enroll/config", "enroll/host/diff", "enroll/host/origin", "enroll/host/tbotlog", "enroll/outcome", "enroll/sh", "enroll/store",
		"enroll/versions", "inventory", "remote", "templates",
	},
	"fleetctl/enroll": {
		"enroll/child", "enroll/claim", "enroll/config", "enroll/halt", "enroll/host", "enroll/host/origin", "enroll/outcome", "enroll/records", "enroll/redact",
		"enroll/report", "enroll/scan", "enroll/store", "enroll/tctl", "enroll/token", "enroll/tpm", "enroll/versions", "enroll/work", "inventory", "remote", "remote/sshfp", "templates",
	},
	"fleetctl/cmd/fleetctl/screen": {},
	"fleetctl/cmd/fleetctl/page":   {"enroll/outcome", "enroll/report", "remote"},
	"fleetctl/cmd/fleetctl": {
		"cmd/fleetctl/page", "cmd/fleetctl/screen", "enroll", "enroll/config", "enroll/doctor", "enroll/halt", "enroll/outcome", "enroll/proxy", "enroll/records", "enroll/redact",
		"enroll/report", "enroll/scan", "enroll/setup", "enroll/store",
		"enroll/tctl", "enroll/token", "enroll/tpm", "enroll/work", "inventory", "inventory/ansiblecfg", "inventory/vault", "remote", "remote/sshfp", "templates",
	},
	// The helper is pushed to every host: with enroll/tpm itself it would be half as large again.
	"fleetctl/cmd/identify":                 {"enroll/tpm/device", "enroll/tpm/ekcert", "enroll/tpm/wire"},
	"fleetctl/cmd/fleetsim":                 {"remote", "remote/remotetest"},
	"fleetctl/remote/remotetest":            {"remote"},
	"fleetctl/remote/remotetest/orphan":     {},
	"fleetctl/enroll/enrolltest/memcluster": {},
	"fleetctl/enroll/enrolltest/program":    {},
	"fleetctl/enroll/enrolltest/shparse":    {},
	"fleetctl/enroll/enrolltest/softtpm":    {"enroll/tpm/wire"},
	"fleetctl/enroll/enrolltest": {
		"enroll/config", "enroll/enrolltest/memcluster", "enroll/enrolltest/shparse", "enroll/enrolltest/softtpm", "enroll/store",
		"enroll/tpm/device", "enroll/tpm/wire", "remote", "remote/remotetest",
	},
	"fleetctl/examples": {},
}

// onlyIn names third-party modules that only these packages may import.
var onlyIn = map[string][]string{
	"github.com/urfave/cli":              {"fleetctl/cmd/fleetctl", "fleetctl/cmd/fleetsim"},
	"github.com/schollz/progressbar":     {"fleetctl/cmd/fleetctl"},
	"modernc.org/sqlite":                 {"fleetctl/enroll/store"},
	"golang.org/x/crypto/ssh":            {"fleetctl/remote", "fleetctl/remote/remotetest", "fleetctl/cmd/fleetsim"},
	"github.com/skeema/knownhosts":       {}, // tests alone
	"github.com/kevinburke/ssh_config":   {"fleetctl/remote/sshconfig"},
	"github.com/google/go-tpm":           {"fleetctl/enroll/tpm", "fleetctl/enroll/enrolltest", "fleetctl/cmd/fleetsim"},
	"github.com/rogpeppe/go-internal":    {}, // tests alone
	"github.com/google/go-attestation":   {}, // test/'s own module alone
	"github.com/gravitational/teleport/": {}, // test/'s own module alone
}

func TestPackagesImportOnlyWhatTheHouseAllows(t *testing.T) {
	packages := listPackages(t)
	for path := range mayImport {
		if _, ok := packages[path]; !ok {
			t.Errorf("the house has a room %s that is not there", path)
		}
	}
	for path, imports := range packages {
		if _, ok := mayImport[path]; !ok {
			t.Errorf("%s has no place in the house", path)
		}
		for _, i := range imports {
			if strings.HasPrefix(i, "fleetctl/") && !allowed(path, i) {
				t.Errorf("%s imports %s: the house does not allow it", path, i)
			}
			for module, users := range onlyIn {
				if within(i, module) && !slices.ContainsFunc(users, func(u string) bool { return within(path, u) }) {
					t.Errorf("%s imports %s, which belongs to %v", path, i, users)
				}
			}
		}
	}
}

// allowed says whether one package may import another.
func allowed(from, to string) bool {
	return slices.Contains(mayImport[from], strings.TrimPrefix(to, "fleetctl/"))
}

// within says whether a package is the module or package prefix, or lies below it.
func within(path, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// listPackages asks go list for every package of the module and its imports, those of tests left out.
func listPackages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "fleetctl/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := map[string][]string{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list printed no JSON: %v", err)
		}
		packages[p.ImportPath] = p.Imports
	}
}
