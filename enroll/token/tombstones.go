package token

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// TombstoneFile is the file beside those of the tokens that says which machines a person took out. It outlives the
// records: who loses them doesn't let these machines in again.
const TombstoneFile = "removed.yaml"

const (
	tombstoneIntro = header + "# Machines that were taken out. Keep this file with those of the tokens: when the records are lost, it\n" +
		"# keeps these machines out. It is for fleetctl alone: to all others it is a file of comments.\n"

	// tombstoneLine begins each line of the list. kubectl takes the files of a directory, and skips a document that is empty
	// (k8s.io/cli-runtime, resource.StreamVisitor); it would refuse one that is no resource.
	tombstoneLine = "#: "
	tombstoneEnd  = "...\n" // YAML's end of a document: without it the file was cut off
)

type (
	tombstones struct {
		Removed []tombstone `yaml:"removed"`
	}
	tombstone struct {
		EKHash   quoted    `yaml:"ek_public_hash"`
		EKSerial quoted    `yaml:"ek_certificate_serial,omitempty"`
		Host     quoted    `yaml:"host,omitempty"`
		State    string    `yaml:"state"`
		Run      int64     `yaml:"run"`
		At       time.Time `yaml:"at"`
		By       quoted    `yaml:"by,omitempty"`
		Why      quoted    `yaml:"why,omitempty"`
	}
)

// buried says whether a state is one that a file tells of: by a person's word. What was only forgotten may come again.
func buried(state string) bool {
	return state == store.Removed || state == store.Replaced || state == store.Disabled
}

// Tombstones is the content of the file that says which of these machines were removed, replaced or disabled, by EK hash. The
// same machines make the same bytes.
func Tombstones(machines []store.Machine) ([]byte, error) {
	doc := tombstones{Removed: []tombstone{}}
	for _, m := range machines {
		if !buried(m.State) {
			continue
		}
		doc.Removed = append(doc.Removed, tombstone{
			EKHash: quoted(m.EKHash), EKSerial: quoted(m.EKSerial), Host: quoted(m.Host), State: m.State, Run: m.Run,
			At: m.At.UTC().Truncate(time.Microsecond), By: quoted(m.By), Why: quoted(m.Why),
		})
	}
	slices.SortFunc(doc.Removed, func(a, b tombstone) int { return cmp.Compare(a.EKHash, b.EKHash) })
	list, err := marshalYAML("", doc)
	if err != nil {
		return nil, err
	}
	content := []byte(tombstoneIntro)
	for line := range bytes.Lines(append(list, tombstoneEnd...)) {
		content = append(append(content, tombstoneLine...), line...)
	}
	return content, nil
}

// tombstoneList is the list in a file: in lines of comments, or, in one of an older fleetctl, the file itself.
func tombstoneList(content []byte) (list []byte, err error) {
	stray := false
	for line := range bytes.Lines(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))) {
		if entry, ok := bytes.CutPrefix(line, []byte(tombstoneLine)); ok {
			list = append(list, entry...)
		}
		stray = stray || line[0] != '#' && len(bytes.TrimSpace(line)) > 0
	}
	switch {
	case list == nil:
		return content, nil
	case stray:
		return nil, errors.New("something else is among its lines: a merge conflict?")
	case !bytes.HasSuffix(list, []byte("\n"+tombstoneEnd)):
		return nil, errors.New("its end is missing")
	}
	return list, nil
}

// ParseTombstones reads what Tombstones made. A file that isn't ours, or that somebody damaged, is an error: it can't be
// known whom it keeps out.
func ParseTombstones(content []byte) ([]store.Machine, error) {
	if !bytes.HasPrefix(content, []byte(headerMark)) {
		return nil, errors.New("not a file of fleetctl's")
	}
	list, err := tombstoneList(content)
	if err != nil {
		return nil, err
	}
	var doc tombstones
	dec := yaml.NewDecoder(bytes.NewReader(list))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	if doc.Removed == nil {
		return nil, errors.New("it has no list of machines")
	}
	machines := make([]store.Machine, len(doc.Removed))
	for i, t := range doc.Removed {
		if !store.ValidEKHash(string(t.EKHash)) || !buried(t.State) {
			return nil, fmt.Errorf("entry %d: no valid EK hash, or a state that is neither %s nor %s", i+1, store.Removed, store.Replaced)
		}
		machines[i] = store.Machine{EKHash: string(t.EKHash), EKSerial: string(t.EKSerial), Host: string(t.Host), State: t.State,
			Run: t.Run, At: t.At, By: string(t.By), Why: string(t.Why)}
	}
	return machines, nil
}

// ReadTombstones reads the file of a directory; none says nothing. Errors are ErrInput and name the file.
func ReadTombstones(dir string) ([]store.Machine, error) {
	path := filepath.Join(dir, TombstoneFile)
	content, err := os.ReadFile(path) //nolint:gosec // a file of the output directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var machines []store.Machine
	if err == nil {
		machines, err = ParseTombstones(content)
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	return machines, nil
}

func unreadable(path string, err error) error {
	return &outcome.InputError{
		Msg:  fmt.Sprintf("%s: it should say which machines were taken out, and can't be read: %v", path, err),
		Hint: "bring it back from a backup or from version control; if it is another file of yours, move it elsewhere",
	}
}

// TombstonesDiffer says whether WriteTombstones would change the file.
func TombstonesDiffer(dir string, machines []store.Machine) (bool, error) {
	_, differ, err := tombstoneFile(dir, machines)
	return differ, err
}

// WriteTombstones brings the file of a directory to these machines, at once or not at all, and says whether it changed.
// Where nobody was taken out there is no file; one that is there stays, with an empty list.
func WriteTombstones(dir string, machines []store.Machine) (bool, error) {
	content, differ, err := tombstoneFile(dir, machines)
	if err != nil || !differ {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	if err := writeAtomically(filepath.Join(dir, TombstoneFile), content); err != nil {
		return false, err
	}
	return true, syncDir(dir)
}

// tombstoneFile is what the file has to be, and whether it is something else.
func tombstoneFile(dir string, machines []store.Machine) (content []byte, differ bool, err error) {
	if content, err = Tombstones(machines); err != nil {
		return nil, false, err
	}
	path := filepath.Join(dir, TombstoneFile)
	have, err := os.ReadFile(path) //nolint:gosec // a file of the output directory
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return content, slices.ContainsFunc(machines, func(m store.Machine) bool { return buried(m.State) }), nil
	case err != nil:
		return nil, false, unreadable(path, err)
	}
	return content, !bytes.Equal(have, content), nil
}
