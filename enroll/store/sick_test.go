//go:build linux

package store_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fleetctl/enroll/store"
)

// needs skips a test that cannot have what it needs; on the project's CI it must have it.
func needs(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI lacks "+format, args...)
	}
	t.Skipf("this machine lacks "+format, args...)
}

// mount makes a file system of its own on a directory; it needs root.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		needs(t, "the right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func filled(t *testing.T, path string, hosts int) {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		put(t, s, ok(fmt.Sprintf("h%d", i), proven(i+1)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSickFilesAreRefusedAndLeftAlone: whatever would go wrong later is an error of Open.
func TestSickFilesAreRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  error
		text  string
	}{
		{"a text file", func(t *testing.T, path string) {
			write(t, path, []byte(strings.Repeat("this is no database\n", 100)))
		}, store.ErrCorrupt, "no SQLite file"},
		{"a damaged page", func(t *testing.T, path string) {
			filled(t, path, 200)
			data := read(t, path)
			for i := 4096; i < len(data); i += 4096 {
				copy(data[i:], bytes.Repeat([]byte{0xa5}, 512))
			}
			write(t, path, data)
		}, store.ErrCorrupt, "restore the file from a backup"},
		{"a file that was cut off", func(t *testing.T, path string) {
			filled(t, path, 200)
			write(t, path, read(t, path)[:20000])
		}, store.ErrCorrupt, ""},
		{"a newer schema", func(t *testing.T, path string) {
			filled(t, path, 1)
			execute(t, path, "PRAGMA user_version = 99")
		}, store.ErrNewerSchema, "schema 99"},
		{"another program's database", func(t *testing.T, path string) {
			execute(t, path, "CREATE TABLE bookmarks (url TEXT)")
		}, store.ErrForeign, "another program's"},
		{"another program's database that says so", func(t *testing.T, path string) {
			execute(t, path, "PRAGMA application_id = 77")
		}, store.ErrForeign, ""},
		{"a directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, store.ErrForeign, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "fleet.db")
			tt.spoil(t, path)
			before, _ := os.ReadFile(path)
			s, err := store.Open(t.Context(), path)
			if err == nil {
				_ = s.Close()
			}
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("got %v", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestDirectoriesThatAreNotThere(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		filepath.Join(t.TempDir(), "nowhere", "fleet.db"), filepath.Join(t.TempDir(), "odd ?#%20 name", "..", "nowhere", "x"),
	} {
		if _, err := store.Open(t.Context(), path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
	path := filepath.Join(t.TempDir(), "odd ?#%20 name.db")
	filled(t, path, 1)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a name with characters of URIs: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	dir := mount(t, "size=64m")
	path := filepath.Join(dir, "fleet.db")
	filled(t, path, 1)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Join(dir, "new.db")} {
		if _, err := store.Open(t.Context(), p); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := mount(t, "size=24m")
	path := filepath.Join(dir, "fleet.db")
	s := open(t, path)
	stuffing := filepath.Join(dir, "stuffing")
	stuff(t, stuffing)
	kept := 0
	var err error
	for ; kept < 10000 && err == nil; kept++ {
		_, err = s.Put(t.Context(), ok(fmt.Sprintf("h%d", kept), withCert(proven(kept+1))))
	}
	kept--
	if !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("after %d hosts: %v", kept, err)
	}
	if other, err := store.Open(t.Context(), path); !errors.Is(err, store.ErrNoSpace) {
		if err == nil {
			_ = other.Close()
		}
		t.Errorf("opening on a full disk: %v", err)
	}
	if err := os.Remove(stuffing); err != nil {
		t.Fatal(err)
	}
	put(t, s, ok("later", nil)) // once there is room again it goes on
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	seen, err := s.Seen(t.Context(), 1)
	if err != nil || len(seen) != kept+1 {
		t.Errorf("%d of %d hosts are left, %v", len(seen), kept+1, err)
	}
}

// stuff writes a file until the disk is full.
func stuff(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// execute runs SQL on a file behind the store's back.
func execute(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsThatHaveToBeThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	missing, empty := filepath.Join(dir, "missing.db"), filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{missing, empty} {
		if _, err := store.OpenWith(t.Context(), path, store.Options{Existing: true}); !errors.Is(err, store.ErrNoRecords) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file was made: %v", err)
	}
	for _, existing := range []bool{false, true} {
		st, err := store.OpenWith(t.Context(), missing, store.Options{Existing: existing})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
