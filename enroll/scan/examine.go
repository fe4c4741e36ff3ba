package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fleetctl/enroll/tpm"
	"fleetctl/remote"
)

// examine reads and proves over a link to a running process, and explains a link that broke by how the process ended.
func (s *scanner) examine(ctx context.Context, proc *remote.Process, link tpm.Link, via string) (sighting, error) {
	report, err := tpm.Examine(ctx, link, s.judging())
	proc.Stdin.Close()
	if err != nil && errors.Is(err, tpm.ErrProtocol) && ctx.Err() == nil {
		err = explainEnd(proc, err)
	}
	closeErr := proc.Close()
	if closeErr != nil {
		s.Log("closing the %s: %v", via, closeErr)
	}
	return s.sight(report, via), err
}

// judging says how TPMs are judged.
func (s *scanner) judging() tpm.ExamineOptions {
	return tpm.ExamineOptions{Proof: s.Proof, CAs: s.CAs, Now: s.Now}
}

// sight is a report as the fleet takes it; nil is none.
func (s *scanner) sight(report *tpm.Report, via string) sighting {
	if report != nil && s.Undated {
		report.Findings = slices.DeleteFunc(report.Findings, tpm.Finding.Dated)
	}
	if report != nil && s.HashOnly {
		forgiveCAs(report.Findings)
	}
	return sighting{report: report, via: via}
}

// How long a process whose protocol broke gets to end by itself, so that its exit code explains why.
const endGrace = 2 * time.Second

// explainEnd adds the exit code and the last words of a process whose protocol broke.
func explainEnd(proc *remote.Process, err error) error {
	type end struct {
		code   int
		stderr []byte
		err    error
	}
	ended := make(chan end, 1)
	go func() { // ends with the process, which the caller closes
		code, stderr, err := proc.Wait()
		ended <- end{code, stderr, err}
	}()
	select {
	case e := <-ended:
		switch {
		case errors.Is(e.err, remote.ErrDisconnected): // it is not what it said that is wrong
			return fmt.Errorf("while its TPM was asked: %w", e.err)
		case e.err != nil:
			return fmt.Errorf("%w (%w)", err, e.err)
		case len(e.stderr) > 0:
			return fmt.Errorf("%w (exit code %d: %s)", err, e.code, remote.Line(string(e.stderr)))
		case e.code != 0:
			return fmt.Errorf("%w (exit code %d)", err, e.code)
		}
	case <-time.After(endGrace):
	}
	return err
}

// forgiveCAs takes the sting out of findings about the EK certificate for a fleet that has hash-only tokens, too.
func forgiveCAs(findings []tpm.Finding) {
	for i := range findings {
		if f := &findings[i]; f.CA && f.Fatal {
			f.Fatal = false
			f.Message += ": it joins with a hash-only token"
		}
	}
}
