//go:build linux

package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest/program"
)

// BenchmarkScan scans simulated fleets with bin/fleetctl. The hosts and their TPMs run on the same processors, and they
// take most of the time: what counts is how the figures change with the size of the fleet, and fleetctl's own CPU time.
func BenchmarkScan(b *testing.B) {
	need(b, "swtpm")
	fleetctl := program.Fleetctl(b)
	for _, n := range []int{100, 300, 1000} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			s := boot(b, fmt.Sprintf("-n=%d", n), "-mix=")
			var total cost
			b.ResetTimer()
			for range b.N {
				total.add(s.scan(b, fleetctl))
			}
			total.report(b, "", n*b.N)
		})
	}
}

// BenchmarkScanAgainstSSH compares a scan with the least that OpenSSH could do: push the same helper, run it, remove it,
// by 50 ssh processes at once. The scan does more: it proves the keys and records them.
func BenchmarkScanAgainstSSH(b *testing.B) {
	need(b, "swtpm", "ssh")
	fleetctl, helper := program.Fleetctl(b), identify(b)
	const n = 100
	s := boot(b, fmt.Sprintf("-n=%d", n), "-mix=")
	var ours, theirs cost
	b.ResetTimer()
	for range b.N {
		ours.add(s.scan(b, fleetctl))
		theirs.add(s.pushBySSH(b, helper))
	}
	ours.report(b, "", n*b.N)
	theirs.report(b, "ssh-", n*b.N)
	b.ReportMetric(theirs.wall.Seconds()/ours.wall.Seconds(), "ssh-time/ours")
	b.ReportMetric(theirs.cpu.Seconds()/ours.cpu.Seconds(), "ssh-CPU/ours")
}

// cost is what a controller's processes took.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // of the largest process, in bytes
}

func (c *cost) add(more cost) {
	c.wall += more.wall
	c.cpu += more.cpu
	c.peak = max(c.peak, more.peak)
}

func (c *cost) process(p *os.ProcessState, peak int64) {
	c.cpu += p.UserTime() + p.SystemTime()
	c.peak = max(c.peak, peak)
}

func (c *cost) report(b *testing.B, prefix string, hosts int) {
	b.ReportMetric(float64(hosts)/c.wall.Seconds(), prefix+"hosts/s")
	b.ReportMetric(c.cpu.Seconds()*1000/float64(hosts), prefix+"CPU-ms/host")
	b.ReportMetric(float64(c.peak)/(1<<20), prefix+"peak-MiB")
}

// scan scans the whole fleet with empty records, and every host must be well.
func (s *sim) scan(b *testing.B, fleetctl string) (c cost) {
	b.Helper()
	db := filepath.Join(b.TempDir(), "fleet.db")
	cmd := exec.Command(fleetctl, "scan", "--no-progress", "-o", "json", "--db", db, "inventory.yaml")
	cmd.Dir = s.dir
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	peak, err := program.Run(cmd)
	if err != nil {
		b.Fatalf("fleetctl scan: %v\n%s", err, &stderr)
	}
	c.wall = time.Since(began)
	c.process(cmd.ProcessState, peak)
	if !json.Valid(out.Bytes()) || bytes.Count(out.Bytes(), []byte(`"proven": true`)) != len(s.names()) {
		b.Fatalf("fleetctl scan: not all hosts are proven\n%s", &stderr)
	}
	return c
}

// pushBySSH runs the helper on every host with the ssh program.
func (s *sim) pushBySSH(b *testing.B, helper []byte) (total cost) {
	b.Helper()
	const script = `umask 077; d=$(mktemp -d) && cat >"$d/h" && chmod 700 "$d/h" && "$d/h" -device /run/tpm.sock -json; rm -rf "$d"`
	names := make(chan string)
	results := make(chan error)
	var mu sync.Mutex
	var workers sync.WaitGroup
	began := time.Now()
	for range 50 {
		workers.Go(func() {
			for name := range names {
				cmd := s.ssh(b, name, script)
				cmd.Stdin = bytes.NewReader(helper)
				var out bytes.Buffer
				cmd.Stdout = &out
				peak, err := program.Run(cmd)
				if err == nil && !json.Valid(out.Bytes()) {
					err = errors.New("no JSON")
				}
				mu.Lock()
				total.process(cmd.ProcessState, peak)
				mu.Unlock()
				if err != nil {
					err = fmt.Errorf("%s: %w", name, err)
				}
				results <- err
			}
		})
	}
	all := s.names()
	go func() {
		for _, name := range all {
			names <- name
		}
		close(names)
	}()
	var failed error
	for range all {
		failed = cmp.Or(failed, <-results)
	}
	workers.Wait()
	if failed != nil {
		b.Fatal(failed)
	}
	total.wall = time.Since(began)
	return total
}

// identify is the helper for this machine.
func identify(b *testing.B) []byte {
	b.Helper()
	f, err := os.Open("../fleetctl/helpers/identify-linux-" + runtime.GOARCH + ".gz")
	if err != nil {
		b.Skipf("no helper: run make build: %v", err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	helper, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	return helper
}
