package scan

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// The ways to ask a TPM.
const (
	ViaHelper = "helper" // pushed, run, removed
	ViaShell  = "shell"  // TPM commands through sh and dd on the host
	ViaTbot   = "tbot"   // the tbot that is installed there; unproven
)

// Options of Scan.
type Options struct {
	work.Reach
	work.Run // with a store
	Ask

	CAs      *tpm.CASet      // of ekcert_cas; nil without
	HashOnly bool            // hosts whose EKCert does not verify get a hash-only token: that is no failure
	Machines config.Machines // which names are one machine, in the whole inventory
}

// Ask says how TPMs are asked.
type Ask struct {
	Helpers    fs.FS  // identify-linux-ARCH.gz
	Via        string // ViaHelper (default), ViaShell or ViaTbot
	Compare    bool   // ask the host's tbot, too, and compare
	KeepHelper bool   // leave the helper on the hosts, for the next scan
	Proof      bool   // credential activation
}

// Scan asks every host's TPM who it is and records what it saw. A host's result is durable before OnResult hears of it.
// The results are in the order of hosts. One host's failure never ends the scan: the error is of the records alone, or
// the context's.
func Scan(ctx context.Context, hosts []inventory.Host, opts Options) ([]outcome.Result, error) {
	s := &scanner{Options: opts, helpers: newHelpers(opts.Helpers)}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	results := opts.Hosts(ctx, opts.Reach, hosts, func(ctx context.Context, h inventory.Host) outcome.Result {
		r, err := s.host(ctx, h)
		if err != nil {
			stop(err) // the records fail: nothing that we would learn now could be kept
		}
		return r
	})
	if err := context.Cause(ctx); err != nil {
		return results, err
	}
	return results, s.refuseDuplicates(ctx, results)
}

type scanner struct {
	Options
	helpers *helpers
}

// sighting is what one host's TPM said.
type sighting struct {
	report *tpm.Report
	via    string
}

// host scans one host and records the observation. The error is of the records.
func (s *scanner) host(ctx context.Context, h inventory.Host) (outcome.Result, error) {
	if ctx.Err() != nil {
		return outcome.End(h.Name, outcome.Canceled, outcome.WasCanceled, "canceled before it began"), nil
	}
	seen, err := s.ask(ctx, h)
	r := s.result(ctx, h, seen, err)
	if r.Outcome == outcome.Canceled {
		return r, nil // an interrupted host was not seen: a resumed scan takes it again
	}
	// A host that has answered is recorded even when Ctrl-C came meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	verdict, err := s.Store.Put(ctx, observation(s.ID, r, seen))
	if err != nil {
		r = outcome.End(h.Name, outcome.Failed, outcome.NotRecorded, remote.Clean(err.Error()))
		return r, fmt.Errorf("records: %w", err)
	}
	return outcome.Judge(r, verdict), nil
}

// ask connects to the host and asks its TPM.
func (s *scanner) ask(ctx context.Context, h inventory.Host) (sighting, error) {
	vars, err := config.Host(h)
	if err != nil {
		return sighting{}, err
	}
	conn, err := s.Dial(ctx, h)
	if err != nil {
		return sighting{}, err
	}
	defer conn.Close()
	p, err := runProbe(ctx, conn, string(vars.Device))
	if err != nil {
		return sighting{}, err
	}
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
			Reason: outcome.Reason{Code: outcome.Code(f.Code), Message: remote.Clean(f.Message), Hint: f.Hint}, Fatal: f.Fatal,
		})
	}
	for _, t := range seen.report.Timings {
		s.Log("%s: %s took %s", h.Name, remote.Clean(t.Command), t.Took.Round(time.Microsecond))
	}
	return r
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

// question is what askTPM has to know.
type question struct {
	host   inventory.Host
	probe  probe
	device string
	become bool
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
			Code: string(outcome.AskedThroughShell), Message: "asked through the shell: " + remote.Clean(why.Error()),
			Hint: outcome.HintOf(why),
		})
	}
	return seen, err
}

// askHelper pushes the helper and talks to it.
func (s *scanner) askHelper(ctx context.Context, conn *remote.Conn, q question) (sighting, error) {
	h, err := s.helpers.get(q.probe.arch, q.probe.uname)
	if err != nil {
		return sighting{}, err
	}
	payload := remote.Payload{Name: "identify", Data: h.data, SHA256: h.sum, Become: q.become, Keep: s.KeepHelper}
	if q.device != "" {
		payload.Args = []string{"-device", q.device}
	}
	proc, err := conn.StartPayload(ctx, payload)
	if err != nil {
		return sighting{}, fmt.Errorf("helper: %w", err)
	}
	return s.examine(ctx, proc, tpm.HelperLink(proc.Stdin, proc.Stdout), ViaHelper)
}

// examine reads and proves over a link to a running process, and explains a link that broke by how the process ended.
func (s *scanner) examine(ctx context.Context, proc *remote.Process, link tpm.Link, via string) (sighting, error) {
	report, err := tpm.Examine(ctx, link, tpm.ExamineOptions{Proof: s.Proof, CAs: s.CAs})
	proc.Stdin.Close()
	if err != nil && errors.Is(err, tpm.ErrProtocol) && ctx.Err() == nil {
		err = explainEnd(proc, err)
	}
	if report != nil && s.HashOnly {
		forgiveCAs(report.Findings)
	}
	closeErr := proc.Close()
	if closeErr != nil {
		s.Log("closing the %s: %v", via, closeErr)
	}
	return sighting{report: report, via: via}, err
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
		case e.err != nil:
			return fmt.Errorf("%w (%w)", err, e.err)
		case len(e.stderr) > 0:
			return fmt.Errorf("%w (exit code %d: %s)", err, e.code, remote.Clean(string(e.stderr)))
		case e.code != 0:
			return fmt.Errorf("%w (exit code %d)", err, e.code)
		}
	case <-time.After(endGrace):
	}
	return err
}
