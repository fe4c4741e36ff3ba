// Package examples holds inventories and fleet files to start from; its tests load every one of them.
package examples

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/inventory"
)

func load(t *testing.T, file string) []inventory.Host {
	t.Helper()
	inv, err := inventory.Load(context.Background(), []string{file}, inventory.Options{PlaybookDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if w := inv.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	hosts, err := inv.Select("all")
	if err != nil {
		t.Fatal(err)
	}
	return hosts
}

func TestTheExampleInventoriesSayTheSame(t *testing.T) {
	byName := func(hosts []inventory.Host) map[string]inventory.Connection {
		m := make(map[string]inventory.Connection)
		for _, h := range hosts {
			conn, err := h.Connection()
			if err != nil {
				t.Errorf("%s: %v", h.Name, err)
			}
			m[h.Name] = conn
		}
		return m
	}
	yaml, ini := byName(load(t, "inventory.yaml")), byName(load(t, "inventory.ini"))
	if len(yaml) != 28 || !reflect.DeepEqual(yaml, ini) {
		t.Errorf("%d hosts in YAML, %d in INI, or they differ:\n%v\n%v", len(yaml), len(ini), yaml, ini)
	}
	for name, user := range map[string]string{"web-canary": "canary", "web01.example.com": "deploy", "db1.example.com": "admin"} {
		if yaml[name].User != user {
			t.Errorf("%s: user %q, want %q", name, yaml[name].User, user)
		}
	}
}

func TestTheExampleListIsAnInventory(t *testing.T) {
	if hosts := load(t, "hosts.txt"); len(hosts) != 5 {
		t.Errorf("got %v", hosts)
	}
}

func TestTheExampleFleetFileLoads(t *testing.T) {
	cfg, err := config.Load("fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(cfg.Inventory) != "inventory.yaml" || cfg.Token.Name != "fleet" || len(cfg.Tbot.Services) != 1 {
		t.Errorf("got %+v", cfg)
	}
	load(t, cfg.Inventory)
}
