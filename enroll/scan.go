package enroll

import (
	"cmp"
	"context"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/tpm"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
)

// ScanOptions of Scan.
type ScanOptions struct {
	scan.Ask
	Resume      bool   // go on with the last scan: only hosts that it did not finish
	RetryFailed bool   // only hosts that failed in the last scan
	Out         string // the directory of the tokens' files: who was taken out stands there, too
}

// HostsReport is how a run over hosts ended.
type HostsReport struct {
	Run     int64 // of the records
	Results []outcome.Result
}

// nobody is the report of a use case that had nothing to do; one that was ended early has no results at all.
func nobody() HostsReport { return HostsReport{Results: []outcome.Result{}} }

// Summary counts the outcomes.
func (r HostsReport) Summary() outcome.Summary { return outcome.Summarize(r.Run, r.Results) }

// Scan asks the TPM of every chosen host who it is and records what it saw. What a host does is in the report; the error
// is ErrHostsFailed when one did not do well, else of what ended the scan early.
func Scan(ctx context.Context, f Fleet, opts ScanOptions) (HostsReport, error) {
	hosts, resumed, err := f.chooseScan(ctx, opts)
	if err != nil {
		return HostsReport{}, err
	}
	if len(hosts) == 0 {
		f.Watcher.Note(NothingLeft{Command: "scan"})
		return nobody(), nil
	}
	if f, err = f.withClock(ctx); err != nil {
		return HostsReport{}, err
	}
	alarms, err := f.readBack(ctx)
	if err != nil {
		return HostsReport{}, err
	}
	reach, closeAll, err := f.reach(ctx, hosts)
	if err != nil {
		return HostsReport{}, err
	}
	defer closeAll()
	report, err := f.scan(ctx, reach, hosts, resumed, opts)
	if err != nil {
		return report, err
	}
	if err := f.noteOpenRules(ctx); err != nil {
		return report, err
	}
	return report, cmp.Or(report.Summary().Err(), verdict(alarms, false))
}

// scan is the stage: one run in the records. A run that is not 0 is gone on with.
func (f Fleet) scan(
	ctx context.Context, reach work.Reach, hosts []inventory.Host, run int64, how ScanOptions,
) (report HostsReport, err error) {
	cas, err := f.cas()
	if err != nil {
		return report, err
	}
	opts := scan.Options{
		Reach: reach, Ask: how.Ask, CAs: cas, HashOnly: f.Config.Token.WithoutEKCert == config.HashOnly, Undated: f.undated,
		Names: claim.FleetOf(f.Inventory), Now: f.Now, Expected: f.expected,
	}
	over := func(run int64) (err error) {
		taken := &settlement{Fleet: f, run: run, opts: TokensOptions{Out: how.Out}}
		if err := taken.tombstones(ctx); err != nil { // who was taken out is not let in because the records are lost
			return err
		}
		opts.Run, report.Run = f.run(run), run
		f.Watcher.Begin(StageScan, len(hosts))
		report.Results, err = scan.Scan(ctx, hosts, opts)
		f.Watcher.End()
		return err
	}
	if run != 0 {
		err = f.resumeRun(ctx, run, over)
	} else {
		err = f.overHosts(ctx, "scan", hosts, over)
	}
	for _, r := range report.Results {
		f.disputed(r)
	}
	return report, err
}

// disputed notes what is known only when all hosts have been seen: other machines present the host's EK, too.
func (f Fleet) disputed(r outcome.Result) {
	about := func(c outcome.Code) bool { return c == outcome.DuplicateEK || c == outcome.Renamed }
	if about(r.Code) {
		f.Watcher.Note(HostRefused{Result: r})
		return
	}
	for _, w := range r.Warnings {
		if about(w.Code) {
			f.Watcher.Note(HostWarned{Host: r.Host, Reason: w.Reason})
		}
	}
}

// chooseScan narrows the hosts for a scan that goes on with an earlier one; run is 0 when a new one shall begin.
func (f Fleet) chooseScan(ctx context.Context, opts ScanOptions) (hosts []inventory.Host, run int64, err error) {
	if opts.Resume && opts.RetryFailed {
		return nil, 0, &outcome.InputError{Msg: "to resume a scan and to retry its failed hosts exclude each other"}
	}
	if !opts.Resume && !opts.RetryFailed {
		return f.Hosts, 0, nil
	}
	last, err := f.lastRun(ctx, "scan")
	if err != nil {
		return nil, 0, err
	}
	seen, err := f.Store.Seen(ctx, last.ID)
	if err != nil {
		return nil, 0, err
	}
	disputed, err := f.disputedHosts(ctx)
	if err != nil {
		return nil, 0, err
	}
	earlier, err := f.chosen(ctx, last.ID)
	if err != nil {
		return nil, 0, err
	}
	for _, h := range earlier {
		ended, ok := seen[h.Name]
		failed := ended == string(outcome.Failed) || ended == string(outcome.Unreachable) || disputed[h.Name]
		if opts.Resume && !ok || opts.RetryFailed && ok && failed {
			hosts = append(hosts, h)
		}
	}
	if opts.RetryFailed {
		return hosts, 0, nil
	}
	return hosts, last.ID, nil
}

// disputedHosts are the hosts that answered, and whose answer is refused: their EK is not the one that was accepted, or others
// present it, too.
func (f Fleet) disputedHosts(ctx context.Context) (map[string]bool, error) {
	disputed := map[string]bool{}
	for rec, err := range f.Store.Records(ctx) {
		if err != nil {
			return nil, err
		}
		disputed[rec.Host] = rec.Pending != nil
	}
	duplicates, err := f.Store.Duplicates(ctx)
	for _, d := range duplicates {
		if machines := f.machines(); !machines.Same(d.Hosts) {
			for _, host := range d.Hosts {
				disputed[host] = true
			}
		}
	}
	return disputed, err
}

// cas loads the EK certificate authorities of fleet.yaml, and notes what in their files could not be used; nil when there
// are none. Errors are ErrInput.
func (f Fleet) cas() (*tpm.CASet, error) {
	if len(f.Config.Token.EKCertCAs) == 0 {
		return nil, nil
	}
	set, err := tpm.LoadCAs(f.Config.Token.EKCertCAs...)
	if err != nil {
		return nil, f.Config.ErrorAt("token.ekcert_cas", "", "%v", err)
	}
	if left := set.Skipped(); len(left) > 0 {
		f.Watcher.Note(CAsLeftOut{Used: set.Len(), Left: left})
	}
	return set, nil
}
