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
	"syscall"
	"testing"
	"time"
)

// BenchmarkScan scans simulated fleets with bin/fleetctl. The hosts and their TPMs run on the same processors, and they
// take most of the time: what counts is how the figures change with the size of the fleet, and fleetctl's own CPU time.
func BenchmarkScan(b *testing.B) {
	need(b, "swtpm")
	program := fleetctl(b)
	for _, n := range []int{100, 300, 1000} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			s := boot(b, fmt.Sprintf("-n=%d", n), "-mix=")
			var total cost
			b.ResetTimer()
			for range b.N {
				total.add(s.scan(b, program))
			}
			total.report(b, "", n*b.N)
		})
	}
}

// BenchmarkScanAgainstSSH compares a scan with the least that OpenSSH could do: push the same helper, run it, remove it,
// by 50 ssh processes at once. The scan does more: it proves the keys and records them.
func BenchmarkScanAgainstSSH(b *testing.B) {
	need(b, "swtpm", "ssh")
	program, helper := fleetctl(b), identify(b)
	const n = 100
	s := boot(b, fmt.Sprintf("-n=%d", n), "-mix=")
	var ours, theirs cost
	b.ResetTimer()
	for range b.N {
		ours.add(s.scan(b, program))
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

func (c *cost) process(p *os.ProcessState) {
	c.cpu += p.UserTime() + p.SystemTime()
	if usage, ok := p.SysUsage().(*syscall.Rusage); ok {
		c.peak = max(c.peak, usage.Maxrss<<10)
	}
}

func (c *cost) report(b *testing.B, prefix string, hosts int) {
	b.ReportMetric(float64(hosts)/c.wall.Seconds(), prefix+"hosts/s")
	b.ReportMetric(c.cpu.Seconds()*1000/float64(hosts), prefix+"CPU-ms/host")
	b.ReportMetric(float64(c.peak)/(1<<20), prefix+"peak-MiB")
}

// scan scans the whole fleet with empty records, and every host must be well.
func (s *sim) scan(b *testing.B, program string) (c cost) {
	b.Helper()
	db := filepath.Join(b.TempDir(), "fleet.db")
	cmd := exec.Command(program, "scan", "--no-progress", "-o", "json", "--db", db, "inventory.yaml")
	cmd.Dir = s.dir
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("fleetctl scan: %v\n%s", err, &stderr)
	}
	c.wall = time.Since(began)
	c.process(cmd.ProcessState)
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
				out, err := cmd.Output()
				if err == nil && !json.Valid(out) {
					err = errors.New("no JSON")
				}
				mu.Lock()
				total.process(cmd.ProcessState)
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

// fleetctl is the program that make build made.
func fleetctl(b *testing.B) string {
	b.Helper()
	path := os.Getenv("FLEETCTL")
	if path == "" {
		path = "../../bin/fleetctl"
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		b.Skipf("no fleetctl: run make build, or name it in FLEETCTL: %v", err)
	}
	return path
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
