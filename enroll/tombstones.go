package enroll

import (
	"context"
	"path/filepath"
	"slices"

	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

// tombstones takes in what the file beside the tokens says of machines that were taken out and that the records don't know
// of any more. A dry run plans as if it had.
func (s *settlement) tombstones(ctx context.Context) error {
	lost, err := s.lostTombstones(ctx, s.opts.Out)
	if err != nil || len(lost) == 0 {
		return err
	}
	s.Watcher.Note(TombstonesCount{Machines: lost, File: filepath.Join(s.opts.Out, token.TombstoneFile)})
	if s.opts.Check {
		s.Store = buried{Store: s.Store, machines: lost}
		return nil
	}
	return s.Store.SetStates(ctx, "tombstone", lost...)
}

// lostTombstones are those of a directory's file that the records have no word against: a machine of theirs is in a state
// that a person gave it in a run at least as high.
func (f Fleet) lostTombstones(ctx context.Context, dir string) (lost []store.Machine, err error) {
	if dir == "" {
		return nil, nil
	}
	filed, err := token.ReadTombstones(dir)
	if err != nil || len(filed) == 0 {
		return nil, err
	}
	known := map[string]store.Machine{}
	for m, err := range f.Store.Machines(ctx) {
		if err != nil {
			return nil, err
		}
		known[m.EKHash] = m
	}
	for _, m := range filed {
		if k, ok := known[m.EKHash]; !ok || k.State != m.State && !(said(k) && k.Run >= m.Run) {
			lost = append(lost, m)
		}
	}
	return lost, nil
}

// said says whether a person gave a machine its state: a scan says nothing.
func said(m store.Machine) bool { return m.Run > 0 || !m.At.IsZero() }

// taken are the machines of the records with those that the directory's file alone knows of.
func (f Fleet) taken(ctx context.Context, dir string) ([]store.Machine, error) {
	all, err := f.lostTombstones(ctx, dir)
	if err != nil {
		return nil, err
	}
	lost := map[string]bool{}
	for _, m := range all {
		lost[m.EKHash] = true
	}
	for m, err := range f.Store.Machines(ctx) {
		if err != nil {
			return nil, err
		}
		if !lost[m.EKHash] {
			all = append(all, m)
		}
	}
	return all, nil
}

// writeTombstones brings the file of a directory to what the records say.
func (f Fleet) writeTombstones(ctx context.Context, dir string) error {
	if dir == "" {
		return nil
	}
	machines, err := f.taken(ctx, dir)
	if err != nil {
		return err
	}
	changed, err := token.WriteTombstones(dir, machines)
	if changed {
		f.Watcher.Note(FileWritten{Path: filepath.Join(dir, token.TombstoneFile)})
	}
	return err
}

// differingFiles are the files that are not as they should be, by name.
func (f Fleet) differingFiles(ctx context.Context, set *token.Set, opts TokensOptions) ([]string, error) {
	differ, err := set.Differs(opts.Out, opts.Format)
	if err != nil {
		return nil, err
	}
	machines, err := f.taken(ctx, opts.Out)
	if err != nil {
		return nil, err
	}
	other, err := token.TombstonesDiffer(opts.Out, machines)
	if other {
		differ = append(differ, token.TombstoneFile)
		slices.Sort(differ)
	}
	return differ, err
}
