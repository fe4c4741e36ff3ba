package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// As many hosts as a run works on ask the records at once: that must not take the descriptors that their connections need.
func TestManyReadersNeedFewDescriptors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fleet.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	most := 0
	for range 20 {
		var all sync.WaitGroup
		for range 300 {
			all.Go(func() {
				if _, err := s.Record(t.Context(), "web-01"); !errors.Is(err, ErrNotFound) {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
		most = max(most, openFiles(t, path))
	}
	if most > 64 {
		t.Errorf("%d descriptors", most)
	}
}

// openFiles counts the descriptors of a file and its neighbours.
func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) == 0 {
		t.Skipf("no /proc here: %v", err)
	}
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, path) {
			n++
		}
	}
	return n
}
