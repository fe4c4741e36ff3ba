package enrolltest

import (
	"bytes"
	"context"
	"encoding/json"

	"fleetctl/enroll/store"
)

// Export is what "records export" writes of records, a JSON object a line.
func Export(ctx context.Context, st store.Store) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for r, err := range st.Records(ctx) {
		if err != nil {
			return nil, err
		}
		if err := enc.Encode(r); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
