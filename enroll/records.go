package enroll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
)

// File is something that is imported.
type File struct {
	Name    string
	Content io.Reader
}

// ImportOptions of Import.
type ImportOptions struct {
	Host        string // whose identity it is, where a file does not say so
	TrustProofs bool   // what an export says was proven is recorded as proven
}

// Import records identities that were found without SSH, in one run: of every file what records.Import takes. A file
// that cannot be read ends the import of that file alone.
func Import(ctx context.Context, f Fleet, opts ImportOptions, files iter.Seq2[File, error]) (report HostsReport, err error) {
	how := records.ImportOptions{Host: opts.Host, TrustProofs: opts.TrustProofs, Fleet: claim.FleetOf(f.Inventory)}
	err = f.inRun(ctx, "import", 0, func(run int64) error {
		report.Run, report.Results, how.Run = run, []outcome.Result{}, run
		var errs []error
		for file, err := range files {
			if err == nil {
				var more []outcome.Result
				more, err = records.Import(ctx, f.Store, file.Content, how)
				report.Results = append(report.Results, more...)
			}
			if err != nil {
				errs = append(errs, named(file.Name, err))
			}
		}
		errs = append(errs, claim.JudgeResults(ctx, f.Store, how.Fleet, report.Results))
		if err := errors.Join(errs...); err != nil {
			return err
		}
		return report.Summary().Err()
	})
	return report, err
}

// named adds a file's name to an error that lacks it.
func named(file string, err error) error {
	if file == "" {
		return err
	}
	return fmt.Errorf("%s: %w", file, err)
}

// Issuers lists who issued the fleet's EK certificates, those of most hosts first.
func Issuers(ctx context.Context, f Fleet) ([]records.Issuer, error) {
	cas, err := f.cas()
	if err != nil {
		return nil, err
	}
	return records.Issuers(ctx, f.Store, cas, time.Now())
}
