package scan

import (
	"context"
	"errors"
	"fmt"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/sh"
	"fleetctl/enroll/tpm"
	"fleetctl/remote"
)

var (
	errNoTbot = &outcome.Error{Reason: outcome.Reason{Code: outcome.NoTbot, Message: "no tbot on the host",
		Hint: "install tbot there, or let the helper ask"}}
	errOthersTbot  = outcome.NewError(outcome.UnsafePath, "root does not run a tbot that others can change")
	errTbotFails   = outcome.NewError(outcome.TbotFailed, "tbot tpm identify failed")
	errTbotDiffers = outcome.NewError(outcome.TbotDiffers, "tbot presents another identity")
)

// No tbot on the host is this exit code of tbotScript.
const exitNoTbot = 97

// A tbot that root doesn't run, since others could have put it there, is this one.
const exitOthersTbot = 96

// tbotScript runs the tbot that is installed, found as enroll finds it.
const tbotScript = sh.FindTbot + sh.Changeable + `t=$(find_tbot)
if [ -z "$t" ]; then exit 97; fi
if [ "$(id -u)" = 0 ]; then
  w=$(changeable "$t")
  if [ -n "$w" ]; then echo "$w" >&2; exit 96; fi
fi
exec "$t" tpm identify
`

// askTbot takes the word of the tbot that is installed on the host: unproven.
func (s *scanner) askTbot(ctx context.Context, conn *remote.Conn, q question) (sighting, error) {
	id, err := identifyByTbot(ctx, conn, q)
	if err != nil {
		return sighting{}, err
	}
	report := &tpm.Report{Identity: id}
	if s.CAs != nil && (id.Certificate != nil || id.Serial == "") {
		report.Findings = s.CAs.Judge(id.Certificate, s.judging().Time())
	}
	return s.sight(report, ViaTbot), nil
}

func identifyByTbot(ctx context.Context, conn *remote.Conn, q question) (tpm.Identity, error) {
	out, err := conn.Run(ctx, remote.Cmd{Script: tbotScript, Become: q.become})
	switch {
	case err != nil:
		return tpm.Identity{}, fmt.Errorf("tbot: %w", err)
	case out.ExitCode == exitNoTbot:
		return tpm.Identity{}, errNoTbot
	case out.ExitCode == exitOthersTbot:
		return tpm.Identity{}, fmt.Errorf("%w: %s", errOthersTbot, remote.Line(string(out.Stderr)))
	case out.ExitCode != 0:
		return tpm.Identity{}, fmt.Errorf("%w (exit code %d): %s", errTbotFails, out.ExitCode, remote.Line(string(out.Stderr)))
	}
	return tpm.ParseIdentifyText(out.Stdout)
}

// compareWithTbot checks that the tbot on the host presents what was seen.
func (s *scanner) compareWithTbot(ctx context.Context, conn *remote.Conn, q question, seen sighting) error {
	id, err := identifyByTbot(ctx, conn, q)
	if errors.Is(err, errNoTbot) {
		s.Log("%s: %v: nothing to compare with", q.host.Name, err)
		return nil
	}
	if err != nil {
		return err
	}
	if ours := seen.report.Identity; id.Hash != ours.Hash || id.Serial != ours.Serial {
		return fmt.Errorf("%w: EKPub hash %s, serial %q, the %s found %s, %q",
			errTbotDiffers, id.Hash, id.Serial, seen.via, ours.Hash, ours.Serial)
	}
	return nil
}
