package records

import (
	"context"
	"errors"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// CheckHost returns an outcome.ErrInput when the records have never heard of a host: neither a record nor an observation.
func CheckHost(ctx context.Context, st store.Store, host string) error {
	_, err := st.Record(ctx, host)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for _, err := range st.History(ctx, host) {
		return err // of a host that was forgotten, or nil
	}
	return &outcome.InputError{Msg: host + ": the records have never seen this host",
		Hint: "\"fleetctl records\" lists those that they have"}
}
