package host

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
)

// downloads keeps what the controller downloads for hosts that can't: once a run.
type downloads struct {
	client *http.Client
	dir    string
	mu     sync.Mutex
	sizes  map[string]int64 // by checksum
}

// get downloads a URL, checks it and returns where it lies.
func (d *downloads) get(ctx context.Context, url, sum string) (local string, size int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	local = filepath.Join(d.dir, "download-"+sum)
	if size, ok := d.sizes[sum]; ok {
		return local, size, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	client := d.client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close() // only read
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%s: %s", url, resp.Status)
	}
	if err := saveFile(local, resp.Body); err != nil {
		return "", 0, err
	}
	if err := checkSum(local, sum); err != nil {
		return "", 0, fmt.Errorf("%s: %w", url, err)
	}
	if _, size, err = sumFile(local); err != nil {
		return "", 0, err
	}
	if d.sizes == nil {
		d.sizes = map[string]int64{}
	}
	d.sizes[sum] = size
	return local, size, nil
}
