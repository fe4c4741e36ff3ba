package delivery

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTheContainerfileCopiesWhatIsThere: what it copies is in git, or what "make build" makes; and nobody becomes root in it.
func TestTheContainerfileCopiesWhatIsThere(t *testing.T) {
	t.Parallel()
	var user string
	copies := 0
	for line := range strings.Lines(string(read(t, "../../Containerfile"))) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "USER":
			user = words[1]
		case words[0] == "RUN" || words[0] == "ADD":
			t.Errorf("%s: nothing is run or fetched in a build", line)
		case words[0] == "COPY":
			copies++
			for _, source := range words[1 : len(words)-1] {
				if !isThere(t, source) {
					t.Errorf("%s: there is no %s", strings.TrimSpace(line), source)
				}
			}
		}
	}
	if user != "nonroot:nonroot" || copies == 0 {
		t.Errorf("user %q, %d copies", user, copies)
	}
}

// isThere says whether a file is in git, or is the program that "make build" makes.
func isThere(t *testing.T, name string) bool {
	t.Helper()
	if name == "bin/fleetctl" {
		return isStatic(t, filepath.Join("../..", name))
	}
	return exec.Command("git", "-C", "../..", "ls-files", "--error-unmatch", name).Run() == nil
}

// isStatic says whether a program runs where there is no C library.
func isStatic(t *testing.T, program string) bool {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("run make build: %v", err)
		}
		t.Skipf("run make build: %v", err)
	}
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return !slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}
