package scan

import (
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"fleetctl/enroll/outcome"
)

// errNoHelper says that this fleetctl has no helper for the host's architecture.
var errNoHelper = outcome.NewError(outcome.NoHelper, "no helper for this architecture")

// No helper is larger than this, in bytes, uncompressed.
const maxHelper = 32 << 20

// helper is an executable of cmd/identify.
type helper struct {
	data []byte
	sum  [sha256.Size]byte
}

// helpers unpacks each architecture's helper once, when the first host needs it.
type helpers struct {
	files fs.FS
	mu    sync.Mutex
	byGo  map[string]helper
}

func newHelpers(files fs.FS) *helpers { return &helpers{files: files, byGo: map[string]helper{}} }

// get returns the helper for a GOARCH; uname is for the error alone.
func (h *helpers) get(goarch, uname string) (helper, error) {
	if goarch == "" {
		return helper{}, fmt.Errorf("%w: %q", errNoHelper, uname)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if got, ok := h.byGo[goarch]; ok {
		return got, nil
	}
	got, err := h.unpack(goarch)
	if err != nil {
		return helper{}, err
	}
	h.byGo[goarch] = got
	return got, nil
}

func (h *helpers) unpack(goarch string) (helper, error) {
	name := "identify-linux-" + goarch + ".gz"
	if h.files == nil {
		return helper{}, fmt.Errorf("%w: linux/%s", errNoHelper, goarch)
	}
	f, err := h.files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return helper{}, fmt.Errorf("%w: this fleetctl was built without %s", errNoHelper, name)
	}
	if err != nil {
		return helper{}, fmt.Errorf("helper: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return helper{}, fmt.Errorf("helper %s: %w", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(z, maxHelper))
	if err != nil {
		return helper{}, fmt.Errorf("helper %s: %w", name, err)
	}
	return helper{data: data, sum: sha256.Sum256(data)}, nil
}

// HelperArchitectures are the architectures that there are helpers for.
func HelperArchitectures(helpers fs.FS) ([]string, error) {
	files, err := fs.Glob(helpers, "identify-linux-*.gz")
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(f, "identify-linux-"), ".gz")
	}
	return files, nil
}
