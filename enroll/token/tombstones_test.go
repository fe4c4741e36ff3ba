package token

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

func out(n int, state string) store.Machine {
	return store.Machine{EKHash: strings.Repeat(string(rune('0'+n)), 64), State: state, Host: "web: \"1\"", EKSerial: "12:34", Run: int64(n),
		At: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), By: "a@b", Why: "sold\n# yes"}
}

func TestTombstonesAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	all := []store.Machine{out(3, store.Replaced), out(1, store.Removed), out(2, store.Disabled), out(4, store.Forgotten), out(5, "")}
	text, err := Tombstones(all)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	if again, err := Tombstones(all); err != nil || string(again) != string(text) {
		t.Errorf("%v: the order of machines matters:\n%s%s", err, text, again)
	}
	for _, other := range []string{strings.ReplaceAll(string(text), "\n", "\r\n"), string(text) + "\n"} { // git and editors do that
		if got, err := ParseTombstones([]byte(other)); err != nil || len(got) != 3 {
			t.Errorf("%v: %+v of %q", err, got, other)
		}
	}
	got, err := ParseTombstones(text)
	if want := []store.Machine{out(1, store.Removed), out(2, store.Disabled), out(3, store.Replaced)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: got %+v\nwant %+v\nof %s", err, got, want, text)
	}
}

// TestTombstonesAreNoResource: whoever applies a whole directory does not trip over the file.
func TestTombstonesAreNoResource(t *testing.T) {
	t.Parallel()
	for _, machines := range [][]store.Machine{nil, {out(1, store.Removed), out(3, store.Replaced)}} {
		text, err := Tombstones(machines)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := yaml.Unmarshal(text, &doc); err != nil || doc != nil {
			t.Errorf("%v: %v in %s", err, doc, text)
		}
	}
}

// TestTombstonesOfAnOlderFleetctlAreRead: there the file was the list itself.
func TestTombstonesOfAnOlderFleetctlAreRead(t *testing.T) {
	t.Parallel()
	want := []store.Machine{out(1, store.Removed)}
	text, err := Tombstones(want)
	if err != nil {
		t.Fatal(err)
	}
	old := strings.TrimSuffix(strings.ReplaceAll(string(text), tombstoneLine, ""), tombstoneEnd)
	if got, err := ParseTombstones([]byte(old)); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: %+v of\n%s", err, got, old)
	}
}

func TestTombstonesThatCannotBeReadAreAnError(t *testing.T) {
	t.Parallel()
	good, err := Tombstones([]store.Machine{out(1, store.Removed)})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a file of somebody else": strings.TrimPrefix(string(good), headerMark),
		"nothing":                 "",
		"the header alone":        header,
		"all but its last line":   strings.TrimSuffix(string(good), tombstoneLine+tombstoneEnd),
		"half of it":              string(good[:len(good)-40]),
		"no hash":                 strings.Replace(string(good), "1111", "", 1),
		"another state":           strings.Replace(string(good), "state: removed", "state: away", 1),
		"a conflict":              strings.Replace(string(good), tombstoneLine+"    state", "<<<<<<< HEAD\n"+tombstoneLine+"    state", 1),
		"a conflict at its end":   string(good) + ">>>>>>> theirs\n",
		"a conflict before it":    strings.Replace(string(good), tombstoneLine, "<<<<<<< HEAD\n"+tombstoneLine, 1),
		"a field more":            strings.Replace(string(good), "state:", "status:", 1),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, TombstoneFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadTombstones(dir)
		if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), filepath.Join(dir, TombstoneFile)) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
}

func TestTheFileOfTombstonesIsNoTokenFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	machines := []store.Machine{out(1, store.Removed)}
	for i, want := range []bool{true, false} {
		if changed, err := WriteTombstones(dir, machines); err != nil || changed != want {
			t.Errorf("write %d: %v, %v", i, changed, err)
		}
	}
	set := &Set{}
	for _, format := range []string{FormatTctl, FormatTerraform, FormatKubernetes} {
		if differ, err := set.Differs(dir, format); err != nil || len(differ) > 0 {
			t.Errorf("%s: %v, %v", format, differ, err)
		}
		if changed, err := set.WriteAs(dir, format); err != nil || len(changed) > 0 {
			t.Errorf("%s: %v, %v", format, changed, err)
		}
		if err := set.CheckFiles(dir, format, ApplyOptions{}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
	if changed, err := WriteTombstones(dir, nil); err != nil || !changed {
		t.Errorf("nobody is out any more: %v, %v", changed, err)
	}
	if got, err := ReadTombstones(dir); err != nil || len(got) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if changed, err := WriteTombstones(filepath.Join(dir, "new"), nil); err != nil || changed {
		t.Errorf("a file for nobody: %v, %v", changed, err)
	}
	set.Tokens = []Token{{Name: "removed"}}
	if _, err := set.Files(); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("a token whose file would be the same: %v", err)
	}
}
