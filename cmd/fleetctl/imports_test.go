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

// mayImport is the house as data: which of our packages each package may import, its sub-packages besides
// (docs/architecture.md). A package that is not here goes by its nearest parent.
var mayImport = map[string][]string{
	"fleetctl":              {},
	"fleetctl/inventory":    {},
	"fleetctl/remote":       {},
	"fleetctl/templates":    {},
	"fleetctl/enroll/tpm":   {"fleetctl/enroll/tpm"},
	"fleetctl/enroll/store": {},
	"fleetctl/enroll": {
		"fleetctl/inventory", "fleetctl/remote", "fleetctl/templates", "fleetctl/enroll/tpm", "fleetctl/enroll/store",
	},
	"fleetctl/enroll/enrolltest": {"fleetctl/remote", "fleetctl/remote/remotetest", "fleetctl/enroll/tpm"},
	"fleetctl/cmd/fleetctl": {
		"fleetctl/inventory", "fleetctl/remote", "fleetctl/templates", "fleetctl/enroll", "fleetctl/enroll/tpm",
		"fleetctl/enroll/store",
	},
	"fleetctl/cmd/identify":      {"fleetctl/enroll/tpm"},
	"fleetctl/cmd/fleetsim":      {"fleetctl/remote", "fleetctl/remote/remotetest", "fleetctl/enroll/tpm"},
	"fleetctl/remote/remotetest": {"fleetctl/remote"},
}

// onlyIn names third-party modules that only these packages may import.
var onlyIn = map[string][]string{
	"github.com/urfave/cli":              {"fleetctl/cmd/fleetctl", "fleetctl/cmd/fleetsim"},
	"github.com/schollz/progressbar":     {"fleetctl/cmd/fleetctl"},
	"modernc.org/sqlite":                 {"fleetctl/enroll/store"},
	"golang.org/x/crypto/ssh":            {"fleetctl/remote", "fleetctl/remote/remotetest", "fleetctl/cmd/fleetsim"},
	"github.com/skeema/knownhosts":       {"fleetctl/remote"},
	"github.com/kevinburke/ssh_config":   {"fleetctl/remote"},
	"github.com/google/go-tpm":           {"fleetctl/enroll/tpm", "fleetctl/enroll/enrolltest", "fleetctl/cmd/fleetsim"},
	"github.com/rogpeppe/go-internal":    {}, // tests alone
	"github.com/google/go-attestation":   {}, // test/'s own module alone
	"github.com/gravitational/teleport/": {}, // test/'s own module alone
}

func TestPackagesImportOnlyWhatTheHouseAllows(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < 8 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	for path, imports := range packages {
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
	if within(to, from) {
		return true // its own sub-package
	}
	owner := from
	for mayImport[owner] == nil {
		owner = owner[:strings.LastIndexByte(owner, '/')]
	}
	return slices.ContainsFunc(mayImport[owner], func(p string) bool {
		return to == p || p != "fleetctl/remote" && within(to, p) // remotetest is for tests
	})
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
