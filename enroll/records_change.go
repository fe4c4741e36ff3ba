package enroll

import (
	"context"

	"fleetctl/enroll/records"
)

// AcceptRecords accepts changed identities in one run, so that no other run works with the old ones meanwhile.
func AcceptRecords(ctx context.Context, f Fleet, unproven bool, hosts ...string) (accepted []records.Acceptance, err error) {
	err = f.inRun(ctx, "accept", len(hosts), func(int64) error {
		accepted, err = records.Accept(ctx, f.Store, records.AcceptOptions{Inventory: f.Inventory, Unproven: unproven}, hosts...)
		return err
	})
	return accepted, err
}

// ForgetRecords drops hosts from the records in one run.
func ForgetRecords(ctx context.Context, f Fleet, hosts ...string) error {
	return f.inRun(ctx, "forget", len(hosts), func(int64) error { return records.Forget(ctx, f.Store, hosts...) })
}

// RenameRecord gives a host another name in one run: see records.Rename.
func RenameRecord(ctx context.Context, f Fleet, from, to string) (done records.Renaming, err error) {
	err = f.inRun(ctx, "rename", 1, func(int64) error {
		done, err = records.Rename(ctx, f.Store, f.Inventory, from, to)
		return err
	})
	return done, err
}

// DisableRecords takes the rules of hosts out of the tokens that are made next: see records.Disable.
func DisableRecords(ctx context.Context, f Fleet, hosts ...string) (changes []records.StateChange, err error) {
	err = f.inRun(ctx, "disable", len(hosts), func(int64) error {
		changes, err = records.Disable(ctx, f.Store, hosts...)
		return err
	})
	return changes, err
}

// EnableRecords ends what DisableRecords did.
func EnableRecords(ctx context.Context, f Fleet, hosts ...string) (changes []records.StateChange, err error) {
	err = f.inRun(ctx, "enable", len(hosts), func(run int64) error {
		changes, err = records.Enable(ctx, f.Store, run, hosts...)
		return err
	})
	return changes, err
}

// ReadmitRecords lets machines in again that were removed or replaced: see records.Readmit.
func ReadmitRecords(ctx context.Context, f Fleet, names ...string) (changes []records.StateChange, err error) {
	err = f.inRun(ctx, "readmit", len(names), func(run int64) error {
		changes, err = records.Readmit(ctx, f.Store, run, names...)
		return err
	})
	return changes, err
}
