package enroll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
)

// File is something that is imported.
type File struct {
	Name    string
	Content io.Reader
}

// Import records identities that were found without SSH, in one run: of every file what records.Import takes. host is
// whose identity it is where a file does not say so. A file that cannot be read ends the import of that file alone.
func Import(ctx context.Context, f Fleet, host string, files iter.Seq2[File, error]) (report HostsReport, err error) {
	err = f.inRun(ctx, "import", 0, func(run int64) error {
		report.Run, report.Results = run, []outcome.Result{}
		var errs []error
		for file, err := range files {
			if err == nil {
				var more []outcome.Result
				more, err = records.Import(ctx, f.Store, file.Content, records.ImportOptions{Host: host, Run: run})
				report.Results = append(report.Results, more...)
			}
			if err != nil {
				errs = append(errs, named(file.Name, err))
			}
		}
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
