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
	errTbotFails   = outcome.NewError(outcome.TbotFailed, "tbot tpm identify failed")
	errTbotDiffers = outcome.NewError(outcome.TbotDiffers, "tbot presents another identity")
)

// No tbot on the host is this exit code of tbotScript.
const exitNoTbot = 97

// tbotScript runs the tbot that is installed, found as enroll finds it.
const tbotScript = sh.FindTbot + `t=$(find_tbot)
if [ -z "$t" ]; then exit 97; fi
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
	case out.ExitCode != 0:
		return tpm.Identity{}, fmt.Errorf("%w (exit code %d): %s", errTbotFails, out.ExitCode, remote.Clean(string(out.Stderr)))
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
