package store

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// listing are the files of a directory with their sizes.
func listing(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name()+" "+info.ModTime().String())
	}
	return names
}

func TestInspectChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fleet.db")
	st, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	run, err := st.BeginRun(t.Context(), "scan", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Put(t.Context(), Observation{Host: "web-01", Run: run, At: time.Now(), Outcome: "ok", Identity: &Identity{EKHash: strings.Repeat("a", 64), Via: "helper"}}); err != nil {
		t.Fatal(err)
	}
	h, err := Inspect(t.Context(), path) // somebody has it
	if err != nil || h.Schema != SchemaVersion() || h.Hosts != 1 || h.Bytes == 0 || !strings.Contains(h.Holder, `"scan", process `) {
		t.Errorf("%+v, %v", h, err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, filepath.Dir(path))
	h, err = Inspect(t.Context(), path)
	if err != nil || h.Holder != "" || h.Hosts != 1 {
		t.Errorf("%+v, %v", h, err)
	}
	if after := listing(t, filepath.Dir(path)); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter  %q", before, after)
	}
}

func TestInspectSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{filepath.Join(dir, "none.db"): ErrNoRecords, dir: ErrForeign, text: ErrCorrupt} {
		if _, err := Inspect(t.Context(), path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	older := filepath.Join(dir, "older.db")
	db, err := openPool(older)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), db, migrations[:2]); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if h, err := Inspect(t.Context(), older); err != nil || h.Schema != 2 {
		t.Errorf("%+v, %v", h, err)
	}
	if db, err = openPool(older); err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), db, append(slices.Clone(migrations), "SELECT 1")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), older); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("%v", err)
	}
}

// Whoever was killed has left its name in the lock's file, and holds nothing.
func TestInspectNamesNobodyWhoIsDead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fleet.db")
	data, err := json.Marshal(holder{PID: 1 << 30, Command: "scan"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".lock", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := heldBy(path); got != "" {
		t.Errorf("%q", got)
	}
}
