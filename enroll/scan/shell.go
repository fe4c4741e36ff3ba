package scan

import (
	"context"
	"fmt"
	"strings"

	"fleetctl/enroll/outcome"
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
		return sighting{}, because(fmt.Errorf("shell: %w", err), why)
	}
	seen, err := s.examine(ctx, proc, tpm.ShellLink(proc.Stdin, proc.Stdout), ViaShell)
	return seen, because(err, why)
}

// because adds why another way had to be taken to an error, as text: the status is that of the error.
func because(err, why error) error {
	if err == nil || why == nil {
		return err
	}
	err = fmt.Errorf("%w (asked through the shell, since: %v)", err, why) //nolint:errorlint // see above
	if hint := outcome.HintOf(why); hint != "" {
		return outcome.WithHint(err, "%s", hint)
	}
	return err
}
