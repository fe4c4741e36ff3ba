package enrolltest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"testing/fstest"
)

// Helpers are what a scan pushes, in the names and the packing that fleetctl embeds: hosts here take any bytes for the
// helper, and run its code themselves. Without architectures (GOARCH) there is amd64 alone.
func Helpers(architectures ...string) (fs.FS, error) {
	if len(architectures) == 0 {
		architectures = []string{"amd64"}
	}
	out := fstest.MapFS{}
	for _, arch := range architectures {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := fmt.Fprintf(z, "the helper for %s\n", arch); err != nil {
			return nil, fmt.Errorf("enrolltest: %w", err)
		}
		if err := z.Close(); err != nil {
			return nil, fmt.Errorf("enrolltest: %w", err)
		}
		out["identify-linux-"+arch+".gz"] = &fstest.MapFile{Data: b.Bytes(), Mode: 0o644}
	}
	return out, nil
}
