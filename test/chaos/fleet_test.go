package chaos

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/program"
	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// number is a number of the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: must be a number from 1 on", name, text)
	}
	return n
}

// member is a host of the fleet.
type member struct {
	*enrolltest.Host
	fault *fault // nil: it is well
}

// fleet is a directory with an inventory, and its hosts.
type fleet struct {
	t       *testing.T
	program string
	dir     string
	server  *remotetest.Fleet
	members map[string]*member
	env     []string
}

// newFleet makes n hosts, of which a fifth are not well in one of these ways; which, and how, is in the seed.
func newFleet(t *testing.T, n int, seed uint64, all []fault) *fleet {
	t.Helper()
	r := mathrand.New(mathrand.NewPCG(seed, 0)) //nolint:gosec // a seed that can be repeated
	f := &fleet{t: t, program: program.Fleetctl(t), dir: t.TempDir(), server: remotetest.StartFleet(t), members: map[string]*member{}}
	f.env = append(os.Environ(), "SSH_AUTH_SOCK=", "HOME="+f.dir, "TMPDIR="+f.mkdir("tmp"))
	bad := badOnes(r, n, all)
	keys := keysFor(t, n)
	targets := make([]remote.Target, n)
	other := map[string]string{}
	for i := range n {
		h := enrolltest.NewHost(t, fmt.Sprintf("host-%05d", i), "18.4.0")
		h.TPM = softtpm.NewTPMOf(keys(i))
		m := &member{Host: h}
		if at, ok := bad[i]; ok {
			m.fault = &all[at]
			if m.fault.twin {
				h.TPM = softtpm.NewTPMOf(keys(i - i%2))
			}
			if m.fault.do != nil {
				m.fault.do(h, r)
			}
		}
		f.members[h.Name] = m
		targets[i] = h.Attach(f.server)
		if m.fault != nil {
			other[net.JoinHostPort(targets[i].Host, strconv.Itoa(targets[i].Port))] = m.fault.key
			if m.fault.closed {
				targets[i].Port = 1
			}
		}
	}
	f.knownHosts(other)
	f.write("inventory.yaml", enrolltest.Inventory(targets))
	return f
}

// badOnes are a fifth of the hosts: every fault about as often as the others. Those that need a twin come in pairs.
func badOnes(r *mathrand.Rand, n int, all []fault) map[int]int {
	bad, next := map[int]int{}, r.IntN(len(all))
	for _, i := range r.Perm(n) {
		if len(bad) >= n/5 {
			break
		}
		if _, taken := bad[i]; taken {
			continue
		}
		pair := []int{i}
		if all[next%len(all)].twin {
			pair = []int{i - i%2, i - i%2 + 1}
		}
		free := !slices.ContainsFunc(pair, func(k int) bool { _, taken := bad[k]; return taken || k >= n })
		if free {
			for _, k := range pair {
				bad[k] = next % len(all)
			}
			next++
		}
	}
	return bad
}

// keysFor makes keys of pairs of primes: one of its own for each of 10,000 hosts would take an hour.
func keysFor(t *testing.T, n int) func(i int) *rsa.PrivateKey {
	t.Helper()
	if n <= softtpm.MaxEKs() {
		return func(i int) *rsa.PrivateKey {
			key, err := softtpm.EkKey(i)
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
	}
	var primes []*big.Int
	for len(primes)*(len(primes)-1)/2 < n {
		p, err := rand.Prime(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		primes = append(primes, p)
	}
	return func(i int) *rsa.PrivateKey {
		second := 1
		for i >= second {
			i -= second
			second++
		}
		p, q, one := primes[i], primes[second], big.NewInt(1)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		key := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: new(big.Int).ModInverse(big.NewInt(65537), phi),
			Primes: []*big.Int{p, q},
		}
		key.Precompute()
		return key
	}
}

// knownHosts takes lines out of known_hosts, or gives them another key.
func (f *fleet) knownHosts(other map[string]string) {
	f.t.Helper()
	raw, err := os.ReadFile(f.server.KnownHosts())
	if err != nil {
		f.t.Fatal(err)
	}
	var out, last []byte
	for line := range bytes.Lines(raw) {
		name, key, _ := bytes.Cut(line, []byte(" "))
		switch host, port, _ := strings.Cut(strings.TrimPrefix(string(name), "["), "]:"); other[net.JoinHostPort(host, port)] {
		case "none":
			continue
		case "other":
			if last == nil {
				continue // it is unknown then, which its check allows
			}
			line = append(append(append([]byte{}, name...), ' '), last...)
		default:
			last = key
		}
		out = append(out, line...)
	}
	if err := os.WriteFile(f.server.KnownHosts(), out, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) mkdir(name string) string {
	f.t.Helper()
	dir := filepath.Join(f.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	return dir
}

func (f *fleet) write(name string, content []byte) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), content, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// report is what fleetctl prints as JSON.
type report struct {
	Recap struct {
		Hosts  int            `json:"hosts"`
		Counts map[string]int `json:"counts"`
	} `json:"recap"`
	Hosts []row `json:"hosts"`
}

type row struct {
	Host    string `json:"host"`
	Outcome string `json:"outcome"`
	Status  string `json:"status"`
	Hash    string `json:"ek_public_hash"`
	Proven  bool   `json:"proven"`
	Message string `json:"message"`
}

func (f *fleet) command(args ...string) *exec.Cmd {
	cmd := exec.Command(f.program, args...)
	cmd.Dir, cmd.Env = f.dir, f.env
	return cmd
}

// scan scans the fleet to its end, and checks what doesn't depend on the hosts.
func (f *fleet) scan(args ...string) report {
	f.t.Helper()
	return f.during(func(*exec.Cmd) {}, args...)
}

// during is a scan in whose middle something happens.
func (f *fleet) during(happens func(*exec.Cmd), args ...string) report {
	f.t.Helper()
	cmd := f.scanning(args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	happens(cmd)
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
		f.t.Fatalf("scan: %v\n%s", err, tail(stderr.String()))
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		f.t.Fatalf("scan: %v\n%s", err, tail(stderr.String()))
	}
	f.t.Logf("%d hosts in %.1f s: %v", r.Recap.Hosts, time.Since(began).Seconds(), r.Recap.Counts)
	f.sums(r)
	f.nothingLeft()
	return r
}

func (f *fleet) scanning(args ...string) *exec.Cmd {
	return f.command(append([]string{"scan", "-o", "json", "--no-progress", "-i", "inventory.yaml"}, args...)...)
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// sums wants every host once, with a documented status, and counts that add up.
func (f *fleet) sums(r report) {
	f.t.Helper()
	seen, counts := map[string]bool{}, map[string]int{}
	for _, h := range r.Hosts {
		if seen[h.Host] || f.members[h.Host] == nil {
			f.t.Errorf("%s is there twice, or not at all", h.Host)
		}
		seen[h.Host] = true
		counts[h.Outcome]++
		if h.Status != "" && !documented()[h.Status] {
			f.t.Errorf("%s: %q is not in docs/statuses.md", h.Host, h.Status)
		}
	}
	if !maps.Equal(counts, r.Recap.Counts) || r.Recap.Hosts != len(r.Hosts) {
		f.t.Errorf("recap %v of %d hosts, counted %v of %d", r.Recap.Counts, r.Recap.Hosts, counts, len(seen))
	}
}

// documented are the statuses that docs/statuses.md has.
var documented = sync.OnceValue(func() map[string]bool {
	raw, err := os.ReadFile("../../docs/statuses.md")
	if err != nil {
		panic(err)
	}
	all := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(raw, -1) {
		all[string(m[1])] = true
	}
	return all
})

// check wants every host to have ended as it should.
func (f *fleet) check(r report, allowed func(*member, row) bool) {
	f.t.Helper()
	bad := 0
	for _, h := range r.Hosts {
		m := f.members[h.Host]
		if allowed(m, h) {
			continue
		}
		what := "it is well"
		if m.fault != nil {
			what = m.fault.name
		}
		if bad++; bad <= 20 {
			f.t.Errorf("%s (%s): %s %s: %s", h.Host, what, h.Outcome, h.Status, h.Message)
		}
	}
	if bad > 20 {
		f.t.Errorf("and %d more", bad-20)
	}
}

// asItShould says whether a host ended as its fault says, or as a healthy one.
func asItShould(m *member, h row) bool {
	if h.Outcome == "ok" {
		known := m.fault == nil || slices.Contains(m.fault.statuses, "")
		return known && h.Proven && h.Hash == m.TPM.EKHash()
	}
	return m.fault != nil && slices.Contains(m.fault.statuses, h.Status)
}

// nothingLeft wants nothing of a run that has ended: no connection, no temporary file, no lock.
func (f *fleet) nothingLeft() {
	f.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for f.server.Server().Stats().Open > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := f.server.Server().Stats().Open; n > 0 {
		f.t.Errorf("%d connections are open", n)
	}
	if left, err := os.ReadDir(filepath.Join(f.dir, "tmp")); err != nil || len(left) > 0 {
		f.t.Errorf("left behind: %v, %v", left, err)
	}
	if lock, err := os.ReadFile(filepath.Join(f.dir, "fleet.db.lock")); err != nil || len(lock) > 0 {
		f.t.Errorf("the lock says %q, %v", lock, err)
	}
}
