package enroll

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fleetctl/enroll/tpm"
	"fleetctl/remote"
)

// askShell speaks TPM 2.0 from here through sh and dd on the host. Why the helper could not be used, if it was tried,
// stands in the error.
func (s *scanner) askShell(ctx context.Context, conn *remote.Conn, q question, why error) (sighting, error) {
	proc, err := conn.Start(ctx, remote.Cmd{
		Script: tpm.ShellScript(q.device),
		Stdin:  strings.NewReader(""), // the script reads; what, comes through Process.Stdin
		Become: q.become,
	})
	if err != nil {
		return sighting{}, errors.Join(why, fmt.Errorf("shell: %w", err))
	}
	seen, err := s.examine(ctx, proc, tpm.ShellLink(proc.Stdin, proc.Stdout), ViaShell)
	if err != nil && why != nil {
		err = fmt.Errorf("%w (through the shell, because: %w)", err, why)
	}
	return seen, err
}
