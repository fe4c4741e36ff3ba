package token

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// lost are the machines that the cluster's tokens admit and would not admit after the change, by EK hash with the names of
// their rules: but for those that a person named, and rules of others that a person wants to go.
func (d Diff) lost(named map[string]bool) map[string]string {
	before, after := map[string]string{}, map[string]bool{}
	for _, c := range d.Tokens {
		if c.have == nil {
			continue
		}
		stays := c.have
		if c.Action != ActionNone && c.Refused == nil {
			stays = c.result
		}
		for _, r := range c.have.rules {
			before[string(r.EKPublicHash)] = remote.Clean(string(r.Description))
		}
		if stays != nil {
			for _, r := range stays.rules {
				after[string(r.EKPublicHash)] = true
			}
		}
		for _, r := range c.Pruned {
			after[r.EKHash] = true
		}
	}
	for _, c := range d.Tokens {
		if c.have == nil && c.result != nil {
			for _, r := range c.result.rules {
				after[string(r.EKPublicHash)] = true
			}
		}
	}
	maps.DeleteFunc(before, func(ek, _ string) bool { return ek == "" || after[ek] || named[ek] })
	return before
}

// brake refuses a change by which more machines than a person allowed lose their last rule.
func (s *Set) brake(lost map[string]string, opts ApplyOptions) error {
	n := len(lost)
	if n == 0 || n == opts.AllowRemovals || opts.AllowRemovals == 0 && n <= max(1, opts.MaxRemovals) {
		return nil
	}
	names := slices.Sorted(maps.Values(lost))
	const most = 20
	list := strings.Join(names[:min(most, n)], ", ")
	if n > most {
		list += fmt.Sprintf(" and %d more", n-most)
	}
	return outcome.Mark(&outcome.InputError{
		Msg: fmt.Sprintf("%d machines would lose their last rule, and nobody named them: %s; nothing was changed", n, list),
	}, ErrRemovals)
}

// ErrRemovals is a change by which more machines would lose their last rule than a person allowed: look at the records, the
// inventory, the CA files and the clock, and allow just that number when it is meant.
var ErrRemovals = errors.New("more removals than allowed")

// ekInFile is an EKPub hash in a file of any format.
var ekInFile = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// CheckFiles refuses files by which more machines than a person allowed would lose their last rule: somebody applies them. A
// file that goes counts as its machines.
func (s *Set) CheckFiles(dir, format string, opts ApplyOptions) error {
	files, err := s.FilesAs(format)
	if err != nil {
		return err
	}
	lost := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ours := stale(format)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !e.Type().IsRegular() || files[e.Name()] == nil && !ours(e.Name(), headOfFile(path)) {
			continue
		}
		content, err := os.ReadFile(path) //nolint:gosec // a file of the output directory
		if err != nil {
			return err
		}
		for _, ek := range ekInFile.FindAllString(string(content), -1) {
			lost[ek] = "EK " + ek[:12] + "…"
		}
	}
	for _, content := range files {
		for _, ek := range ekInFile.FindAllString(string(content), -1) {
			delete(lost, ek)
		}
	}
	for host, ek := range s.machineOf {
		if lost[ek] != "" {
			lost[ek] = host
		}
	}
	maps.DeleteFunc(lost, func(ek, _ string) bool { return s.named[ek] })
	return s.brake(lost, opts)
}
