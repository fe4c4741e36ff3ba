package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

// maxProgram is the most that a tbot or a package may have: Teleport's largest release files are a tenth of it.
const maxProgram = 2 << 30

// stored is a file of the controller, and what is in it.
type stored struct {
	name   string
	sha256 string // lower-case hex
	size   int64
}

// storeFile writes a new file in dir, and reckons its checksum on the way. More than limit bytes are an error, and then
// nothing is left of it.
func storeFile(dir, pattern string, r io.Reader, limit int64) (s stored, err error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return stored{}, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			s, err = stored{}, errors.Join(err, os.Remove(f.Name()))
		}
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("more than %d bytes: that is no tbot", limit)
	}
	return stored{name: f.Name(), sha256: hex.EncodeToString(h.Sum(nil)), size: n}, err
}

// downloads keeps what the controller downloads for hosts that can't: once a run, whoever asks for it.
type downloads struct {
	client *http.Client // nil: the default one
	dir    string
	limit  int64 // bytes a file; 0: maxProgram

	mu   sync.Mutex
	open map[string]*download // by checksum: those that are under way or succeeded
}

// download is one download for all hosts that want it. It goes on as long as one of them waits.
type download struct {
	over    chan struct{} // closed at the end; then file and err hold
	file    stored
	err     error
	stop    context.CancelFunc
	waiting int // under the lock of downloads
}

// get downloads a URL, checks it and returns where it lies. Hosts that want the same share one download; each waits only
// as long as its own context allows. A download that failed is tried again by the next that asks.
func (d *downloads) get(ctx context.Context, url, sum string) (stored, error) {
	dl := d.join(ctx, url, sum)
	defer d.leave(dl, sum)
	select {
	case <-dl.over:
		return dl.file, dl.err
	case <-ctx.Done():
		return stored{}, context.Cause(ctx)
	}
}

// join finds the download of a checksum, or begins it.
func (d *downloads) join(ctx context.Context, url, sum string) *download {
	d.mu.Lock()
	defer d.mu.Unlock()
	dl := d.open[sum]
	if dl == nil {
		dl = &download{over: make(chan struct{})}
		ctx, dl.stop = context.WithCancel(context.WithoutCancel(ctx)) // not the first host's: others may wait, too
		if d.open == nil {
			d.open = map[string]*download{}
		}
		d.open[sum] = dl
		go d.run(ctx, dl, url, sum)
	}
	dl.waiting++
	return dl
}

// leave ends a download that nobody waits for any longer.
func (d *downloads) leave(dl *download, sum string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dl.waiting--; dl.waiting > 0 {
		return
	}
	select {
	case <-dl.over:
	default:
		dl.stop()
		d.forget(dl, sum)
	}
}

// forget lets the next that asks begin anew. The lock is held.
func (d *downloads) forget(dl *download, sum string) {
	if d.open[sum] == dl {
		delete(d.open, sum)
	}
}

func (d *downloads) run(ctx context.Context, dl *download, url, sum string) {
	defer dl.stop()
	dl.file, dl.err = d.fetch(ctx, url, sum)
	if dl.err != nil {
		d.mu.Lock()
		d.forget(dl, sum)
		d.mu.Unlock()
	}
	close(dl.over)
}

func (d *downloads) fetch(ctx context.Context, url, sum string) (stored, error) {
	resp, err := httpGet(ctx, d.client, url)
	if err != nil {
		return stored{}, err
	}
	defer resp.Body.Close() // only read
	limit := d.limit
	if limit == 0 {
		limit = maxProgram
	}
	f, err := storeFile(d.dir, "download-*", resp.Body, limit)
	if err != nil {
		return stored{}, fmt.Errorf("%s: %w", url, err)
	}
	if f.sha256 != strings.ToLower(sum) {
		return stored{}, errors.Join(fmt.Errorf("%s has SHA-256 %s, not %s", url, f.sha256, sum), os.Remove(f.name))
	}
	return f, nil
}

// httpGet begins to get a URL. Another status than 200 is an error.
func httpGet(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	if client == nil {
		client = http.DefaultClient
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", url, resp.Status), resp.Body.Close())
	}
	return resp, nil
}

// httpDocument gets a small document.
func httpDocument(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	resp, err := httpGet(ctx, client, url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // only read
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err == nil && len(raw) > maxReply {
		err = fmt.Errorf("%s: more than 1 MiB", url)
	}
	return raw, err
}

// sumFile is a file of the user's, and what is in it.
func sumFile(name string) (stored, error) {
	f, err := os.Open(name)
	if err != nil {
		return stored{}, err
	}
	defer f.Close() // only read
	h := sha256.New()
	size, err := io.Copy(h, f)
	return stored{name: name, sha256: hex.EncodeToString(h.Sum(nil)), size: size}, err
}

// checkSum compares a file's checksum with the one that it must have; "" is any.
func (s stored) checkSum(want string) error {
	if want != "" && s.sha256 != strings.ToLower(want) {
		return fmt.Errorf("%s has SHA-256 %s, not %s", s.name, s.sha256, want)
	}
	return nil
}
