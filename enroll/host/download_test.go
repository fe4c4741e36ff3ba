package host

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mirror serves one file and counts how often it was asked. While it is shut, nobody gets anything.
type mirror struct {
	*httptest.Server
	asked atomic.Int32
	fails atomic.Int32 // so many answers are errors
	open  chan struct{}
	ended chan struct{} // a client went away
}

func newMirror(t *testing.T, content string) *mirror {
	m := &mirror{open: make(chan struct{}), ended: make(chan struct{}, 10)}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.asked.Add(1)
		if m.fails.Add(-1) >= 0 {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		select {
		case <-m.open:
		case <-r.Context().Done():
			m.ended <- struct{}{}
			return
		}
		io.WriteString(w, content) //nolint:errcheck // a test
	}))
	t.Cleanup(m.Close)
	return m
}

func TestHostsShareOneDownloadAndWaitForThemselves(t *testing.T) {
	t.Parallel()
	m := newMirror(t, "tbot")
	d := &downloads{dir: t.TempDir()}
	var hosts sync.WaitGroup
	errs := make([]error, 5)
	impatient, leave := context.WithCancelCause(t.Context())
	gone := errors.New("this host's time is over")
	for i := range errs {
		ctx := t.Context()
		if i == 0 {
			ctx = impatient
		}
		hosts.Go(func() { _, errs[i] = d.get(ctx, m.URL, hexSum([]byte("tbot"))) })
	}
	for m.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	leave(gone)
	time.Sleep(10 * time.Millisecond)
	close(m.open)
	hosts.Wait()
	for i, err := range errs {
		if i == 0 && !errors.Is(err, gone) || i > 0 && err != nil {
			t.Errorf("host %d: %v", i, err)
		}
	}
	if n := m.asked.Load(); n != 1 {
		t.Errorf("%d downloads", n)
	}
}

func TestAFailedDownloadIsTriedAgain(t *testing.T) {
	t.Parallel()
	m := newMirror(t, "tbot")
	m.fails.Store(1)
	close(m.open)
	d := &downloads{dir: t.TempDir()}
	if _, err := d.get(t.Context(), m.URL, hexSum([]byte("tbot"))); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("got %v", err)
	}
	for range 2 {
		f, err := d.get(t.Context(), m.URL, hexSum([]byte("tbot")))
		if raw, rerr := os.ReadFile(f.name); err != nil || rerr != nil || string(raw) != "tbot" || f.size != 4 {
			t.Errorf("got %+v, %v, %v", f, err, rerr)
		}
	}
	if n := m.asked.Load(); n != 2 {
		t.Errorf("%d downloads", n)
	}
}

func TestADownloadThatNobodyWaitsForEnds(t *testing.T) {
	t.Parallel()
	m := newMirror(t, "tbot")
	d := &downloads{dir: t.TempDir()}
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		for m.asked.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		leave()
	}()
	if _, err := d.get(ctx, m.URL, "00"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	select {
	case <-m.ended:
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}

func TestDownloadsAreCheckedAndBounded(t *testing.T) {
	t.Parallel()
	m := newMirror(t, "a long program")
	close(m.open)
	for _, c := range []struct {
		name, sum, want string
		limit           int64
	}{
		{"another checksum", strings.Repeat("0", 64), "has SHA-256", 0},
		{"too large", hexSum([]byte("a long program")), "more than 5 bytes", 5},
	} {
		dir := t.TempDir()
		_, err := (&downloads{dir: dir, limit: c.limit}).get(t.Context(), m.URL, c.sum)
		if left, _ := os.ReadDir(dir); err == nil || !strings.Contains(err.Error(), c.want) || len(left) > 0 {
			t.Errorf("%s: %v; left: %v", c.name, err, left)
		}
	}
}
