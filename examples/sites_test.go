package examples

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/inventory"
)

// TestTheExampleSites loads every site, reads what its hosts' variables say, and plans its tokens as if all hosts had been scanned.
func TestTheExampleSites(t *testing.T) {
	t.Parallel()
	sites := map[string]struct {
		hosts  int
		tokens map[string]int // rules by token
	}{
		"small":   {4, map[string]int{"small": 4}},
		"bastion": {14, map[string]int{"bastion": 14}},
		"air-gap": {24, map[string]int{"plant": 24}},
		"agents":  {40, map[string]int{"agents": 40}},
		"large": {10000, map[string]int{
			"large": 1000, "large-2": 1000, "large-3": 1000, "large-4": 1000, "large-5": 1000, "large-6": 1000, "large-7": 1000,
			"large-8": 1000, "large-9": 950, "large-db": 1000, "large-db-2": 50,
		}},
	}
	for _, dir := range directories(t) {
		want, ok := sites[dir]
		if !ok {
			t.Errorf("%s: what is it an example of?", dir)
			continue
		}
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			cfg, err := config.Load(filepath.Join(dir, "fleet.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			hosts := load(t, cfg.Inventory)
			if len(hosts) != want.hosts {
				t.Errorf("%d hosts, want %d", len(hosts), want.hosts)
			}
			checkTokens(t, plan(t, cfg, hosts), want.tokens)
		})
	}
}

// directories are the sites: every directory with a fleet.yaml.
func directories(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*/fleet.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sites: %v", err)
	}
	for i := range files {
		files[i] = filepath.Dir(files[i])
	}
	return files
}

// plan makes the tokens of hosts that have all proven an EK.
func plan(t *testing.T, cfg config.Config, hosts []inventory.Host) *token.Set {
	t.Helper()
	in := token.Input{Policy: cfg.Token, Bot: cfg.Bot, BotOf: map[string]config.Bot{}, Now: time.Now(), Fleet: cfg.Fleet}
	for _, h := range hosts {
		vars, err := config.Host(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := vars.Tbot(cfg.Tbot); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Connection(); err != nil {
			t.Fatal(err)
		}
		in.BotOf[h.Name] = vars.BotOr(cfg.Bot)
		ek := sha256.Sum256([]byte(h.Name))
		in.Records = append(in.Records, store.Record{
			Host: h.Name, Accepted: &store.Identity{EKHash: hex.EncodeToString(ek[:]), Proven: true},
		})
	}
	set, err := token.Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// checkTokens compares the number of rules, and has the files linted as they are made.
func checkTokens(t *testing.T, set *token.Set, want map[string]int) {
	t.Helper()
	files, err := set.Files()
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Tokens) != len(want) || len(set.Refused) > 0 || len(files) < len(want) {
		t.Errorf("%d tokens, %d files, refused %v; want %v", len(set.Tokens), len(files), set.Refused, want)
	}
	for _, made := range set.Tokens {
		if len(made.Rules) != want[made.Name] {
			t.Errorf("%s has %d rules, want %d", made.Name, len(made.Rules), want[made.Name])
		}
	}
}
