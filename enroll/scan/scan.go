package scan

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// Scan asks every host's TPM who it is and records what it saw. A host's result is durable before OnResult hears of it.
// The results are in the order of hosts. One host's failure never ends the scan: the error is of the records alone, or
// the context's.
func Scan(ctx context.Context, hosts []inventory.Host, opts Options) ([]outcome.Result, error) {
	s := &scanner{Options: opts, helpers: newHelpers(opts.Helpers)}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	run := ctx
	results := opts.Hosts(ctx, opts.Reach, hosts, func(ctx context.Context, h inventory.Host) outcome.Result {
		r, err := s.host(ctx, run, h)
		if err != nil {
			stop(err) // the records fail: nothing that we would learn now could be kept
		}
		return s.expected(h, r)
	})
	if err := context.Cause(ctx); err != nil {
		return results, err
	}
	return results, claim.JudgeResults(ctx, s.Store, s.Names, results)
}

// expected is a result as it counts by what the inventory expects of the host.
func (s *scanner) expected(h inventory.Host, r outcome.Result) outcome.Result {
	if s.Expected == nil {
		return r
	}
	return s.Expected(h, r)
}

// host scans one host of a run and records the observation. The error is of the records.
func (s *scanner) host(ctx, run context.Context, h inventory.Host) (outcome.Result, error) {
	if ctx.Err() != nil {
		return outcome.End(h.Name, outcome.Canceled, outcome.WasCanceled, "canceled before it began"), nil
	}
	var seen sighting
	err := s.Patiently(ctx, func() (err error) {
		seen, err = s.ask(ctx, h)
		return err
	})
	r := s.result(ctx, h, seen, err)
	if r.Outcome == outcome.Canceled {
		return r, nil // an interrupted host was not seen: a resumed scan takes it again
	}
	ctx, cancel := recording(run)
	defer cancel()
	verdict, err := s.Store.Put(ctx, observation(s.ID, r, seen))
	if err != nil {
		r = outcome.End(h.Name, outcome.Failed, outcome.NotRecorded, remote.Line(err.Error()))
		return r, fmt.Errorf("records: %w", err)
	}
	return outcome.Judge(r, verdict), nil
}

// toRecord is how long the records may take for a host once its run has ended.
const toRecord = time.Minute

// recording returns a context for the records. A host that has answered is recorded although its own time is over, and even
// when Ctrl-C came meanwhile. As long as the run goes on, records that are slow hold it up, and don't end it.
func recording(run context.Context) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(run))
	stop := context.AfterFunc(run, func() {
		timer := time.AfterFunc(toRecord, cancel)
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ctx, func() {
		stop()
		cancel()
	}
}

// ask connects to the host and asks its TPM.
func (s *scanner) ask(ctx context.Context, h inventory.Host) (sighting, error) {
	vars, err := config.Host(h)
	if err != nil {
		return sighting{}, err
	}
	if s.TPM != nil {
		report, err := s.TPM(ctx, h, s.judging())
		return s.sight(report, ViaHelper), err
	}
	conn, err := s.Dial(ctx, h)
	if err != nil {
		return sighting{}, err
	}
	defer conn.Close()
	work.At(ctx, work.Looking)
	p, err := runProbe(ctx, conn, string(vars.Device))
	if err != nil {
		return sighting{}, err
	}
	work.At(ctx, work.Asking)
	return s.askTPM(ctx, conn, question{host: h, probe: p, device: string(vars.Device), become: p.becomeFor(h)})
}

// result says how the scan of a host ended.
func (s *scanner) result(ctx context.Context, h inventory.Host, seen sighting, err error) outcome.Result {
	r := outcome.Result{Host: h.Name, Outcome: outcome.OK}
	if err != nil {
		r = outcome.Failure(ctx, h, err)
	}
	if seen.report == nil {
		return r
	}
	r.EKHash, r.Serial = seen.report.Identity.Hash, seen.report.Identity.Serial
	r.Proven = seen.report.Proven
	for _, f := range seen.report.Findings {
		r.Warnings = append(r.Warnings, outcome.Warning{
			Reason: outcome.Reason{Code: outcome.Code(f.Code), Message: remote.Line(f.Message), Hint: f.Hint}, Fatal: f.Fatal,
		})
	}
	for _, t := range seen.report.Timings {
		s.Log("%s: %s took %s", h.Name, remote.Clean(t.Command), t.Took.Round(time.Microsecond))
	}
	return r
}

func observation(run int64, r outcome.Result, seen sighting) store.Observation {
	o := store.Observation{
		Host: r.Host, Run: run, At: time.Now().UTC(),
		Outcome: string(r.Outcome), Status: string(r.Code), Message: r.Message,
	}
	if seen.report == nil || r.Outcome != outcome.OK {
		return o // what a failed host claimed is in the message; it is nobody's identity
	}
	id := seen.report.Identity
	o.Identity = &store.Identity{
		EKHash: id.Hash, EKSerial: id.Serial, EKPub: id.PublicDER, EKCert: id.CertDER,
		Proven: seen.report.Proven, Via: seen.via,
	}
	details := tpm.Details{Properties: seen.report.Properties, Findings: seen.report.Findings}
	o.TPM, _ = json.Marshal(details) // strings, numbers and times: it can't fail
	return o
}

// askTPM examines the TPM, and compares with tbot where that was asked for.
func (s *scanner) askTPM(ctx context.Context, conn *remote.Conn, q question) (sighting, error) {
	if q.probe.os != "Linux" {
		return sighting{}, fmt.Errorf("%w: the host runs %q, and tbot's tpm join needs Linux", tpm.ErrNoTPM, q.probe.os)
	}
	seen, err := s.askByWay(ctx, conn, q)
	if err == nil && s.Compare && seen.via != ViaTbot {
		err = s.compareWithTbot(ctx, conn, q, seen)
	}
	return seen, err
}

// askByWay goes the way that was asked for, or the next one that can work on this host.
func (s *scanner) askByWay(ctx context.Context, conn *remote.Conn, q question) (sighting, error) {
	switch cmp.Or(s.Via, ViaHelper) {
	case ViaTbot:
		return s.askTbot(ctx, conn, q)
	case ViaShell:
		return s.askShell(ctx, conn, q, nil)
	}
	seen, err := s.askHelper(ctx, conn, q)
	if !errors.Is(err, remote.ErrNoExecDir) && !errors.Is(err, errNoHelper) {
		return seen, err
	}
	s.Log("%s: %v: asking through the shell", q.host.Name, err)
	why := err
	if seen, err = s.askShell(ctx, conn, q, why); seen.report != nil {
		seen.report.Findings = append(seen.report.Findings, tpm.Finding{
			Code: string(outcome.AskedThroughShell), Message: "asked through the shell: " + remote.Line(why.Error()),
			Hint: outcome.HintOf(why),
		})
	}
	return seen, err
}
