package enroll

import (
	"context"
	"errors"
	"fmt"

	"fleetctl/remote"
)

// askShell speaks TPM 2.0 from here through sh and dd on the host. Why the helper could not be used, if it was tried,
// stands in the error.
func (s *scanner) askShell(ctx context.Context, conn *remote.Conn, q question, why error) (sighting, error) {
	_, _, _ = ctx, conn, q
	return sighting{}, errors.Join(why, fmt.Errorf("shell: not built yet"))
}
