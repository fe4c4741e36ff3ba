package inventory

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// writeFile writes a file below the directory, which it makes.
func writeFile(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// loadText loads an inventory from a file of that name with that text, in a directory of its own.
func loadText(t *testing.T, name, text string) (*Inventory, error) {
	t.Helper()
	dir := t.TempDir()
	return Load(context.Background(), []string{writeFile(t, filepath.Join(dir, name), text, 0o644)}, Options{PlaybookDir: dir})
}

func TestAYAMLInventoryGivesHostsWithMergedVariables(t *testing.T) {
	inv, err := loadText(t, "inventory.yaml", `
all:
  vars: {ansible_user: root, site: a}
  children:
    web:
      vars: {site: b}
      hosts:
        web[01:02].example.com: {ansible_port: 2222}
`)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("web", "web02*")
	if err != nil || len(hosts) != 1 {
		t.Fatalf("got %v, %v", hosts, err)
	}
	conn, err := hosts[0].Connection()
	if err != nil || conn.Host != "web02.example.com" || conn.Port != 2222 || conn.User != "root" {
		t.Errorf("got %+v, %v", conn, err)
	}
	if hosts[0].Vars["site"] != "b" || hosts[0].Pos.Line != 8 {
		t.Errorf("got %+v", hosts[0])
	}
}
