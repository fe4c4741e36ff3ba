package tbotlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// journalSample is a journal as tbot wrote it.
func journalSample(t *testing.T, name string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "journal", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
}

func TestTheShownJournalHasNoStacks(t *testing.T) {
	got := Shown(journalSample(t, "degraded-17.5.3"))
	text := strings.Join(got, "\n")
	if len(got) > MaxShown || strings.Contains(text, "pkg.Func") || !strings.Contains(text, "did not match any allow rules") {
		t.Errorf("%d lines:\n%s", len(got), text)
	}
	if text = strings.Join(Shown(journalSample(t, "no-rule")), "\n"); strings.Contains(text, "\x1b") || strings.Contains(text, "[31m") {
		t.Errorf("colours:\n%s", text)
	}
}

func FuzzRecords(f *testing.F) {
	files, err := filepath.Glob("../testdata/journal/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(raw))
	}
	f.Fuzz(func(_ *testing.T, journal string) {
		lines := strings.Split(journal, "\n")
		CauseIn(lines)
		Shown(lines)
	})
}
