package scan

import (
	"context"
	"fmt"

	"fleetctl/enroll/tpm"
	"fleetctl/remote"
)

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
