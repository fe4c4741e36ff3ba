//go:build vm

package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// Exit codes of fleetctl.
const (
	exitOK     = 0
	exitFailed = 3
	exitAny    = -1 // either
)

const diagAddr = "127.0.0.1:3001" // of tbot

// fleet is a machine that runs, the stand-ins of a cluster, and fleetctl's directory.
type fleet struct {
	*Machine
	t   *testing.T
	dir string // inventory.yaml, fleet.yaml, fleet.db, out
}

// on returns the fleet for a subtest.
func (f fleet) on(t *testing.T) fleet {
	f.t = t
	return f
}

// newFleet makes a machine, which is off, and starts the auth service.
func newFleet(t *testing.T, interfaceName string) fleet {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv("FLEETCTL") == "" {
		t.Fatal("these tests are run by make vm, as root: a disk is made, and FLEETCTL names the program under test")
	}
	begin := time.Now()
	bin := buildPrograms(t)
	m, err := New(t.Context(), t.TempDir(), Config{TPM: interfaceName, Programs: map[string]string{
		"tbot": filepath.Join(bin, "tbot"), "held": filepath.Join(bin, "held"), "identify": filepath.Join(bin, "identify"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	t.Logf("the machine was made in %.1f s: %s", time.Since(begin).Seconds(), sizes(m.Dir))
	f := fleet{Machine: m, t: t, dir: t.TempDir()}
	port := f.startAuth(filepath.Join(bin, "auth"))
	f.writeFiles(net.JoinHostPort(Gateway, strconv.Itoa(port)))
	if err := os.Symlink(filepath.Join(bin, "tctl"), filepath.Join(f.dir, "tctl")); err != nil {
		t.Fatal(err)
	}
	return f
}

// buildPrograms builds the stand-ins, the helper, and what looks into a TPM.
func buildPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/", "fleetctl/test/cluster/cmd/tctl",
		"fleetctl/test/cluster/cmd/tbot", "fleetctl/test/cluster/cmd/auth", "fleetctl/test/vm/cmd/held", "fleetctl/cmd/identify")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func (f fleet) startAuth(program string) (port int) {
	f.t.Helper()
	port, err := freePort()
	if err != nil {
		f.t.Fatal(err)
	}
	auth, err := run(program, "-data-dir", filepath.Join(f.dir, "cluster"), "-listen", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		auth.stop(syscall.SIGTERM)
		if f.t.Failed() {
			f.t.Logf("the auth service said:\n%s", auth.said.String())
		}
	})
	return port
}

// writeFiles writes what a user of fleetctl has.
func (f fleet) writeFiles(auth string) {
	f.t.Helper()
	ca, err := os.ReadFile(f.CA.Issuer())
	if err != nil {
		f.t.Fatal(err)
	}
	files := map[string]any{
		"tpm-ca.pem":    string(ca),
		"known_hosts":   fmt.Sprintf("[127.0.0.1]:%d %s\n", f.Port, f.HostKey),
		"teleport.yaml": map[string]any{"teleport": map[string]any{"data_dir": filepath.Join(f.dir, "cluster")}},
		"fleet.yaml": map[string]any{
			"version": "v1", "inventory": "inventory.yaml", "cluster": map[string]any{"auth_server": auth},
			"bot":   map[string]any{"name": "fleet", "roles": []string{"access"}},
			"token": map[string]any{"name": "fleet", "ekcert_cas": []string{"tpm-ca.pem"}, "without_ekcert": "hash-only"},
			"tbot": map[string]any{
				"install": map[string]any{"from": "none"}, "user": "teleport", "group": "teleport", "diag_addr": diagAddr,
			},
		},
	}
	for name, content := range files {
		f.write(name, content)
	}
	f.inventory(nil)
}

// inventory writes the inventory, with more variables.
func (f fleet) inventory(more map[string]any) {
	f.t.Helper()
	vars := map[string]any{
		"ansible_host": "127.0.0.1", "ansible_port": f.Port, "ansible_user": "ops", "ansible_ssh_private_key_file": f.Key,
		"ansible_ssh_common_args": "-F none -o UserKnownHostsFile=" + filepath.Join(f.dir, "known_hosts"),
	}
	for key, value := range more {
		vars[key] = value
	}
	f.write("inventory.yaml", map[string]any{"all": map[string]any{"hosts": map[string]any{"vm": vars}}})
}

func (f fleet) write(name string, content any) {
	f.t.Helper()
	text, ok := content.(string)
	if !ok {
		data, err := yaml.Marshal(content)
		if err != nil {
			f.t.Fatal(err)
		}
		text = string(data)
	}
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// result is what `-o json` prints of the host.
type result struct {
	Host, Outcome, Status, Message, State string
	Hash                                  string `json:"ek_public_hash"`
	Serial                                string `json:"ek_certificate_serial"`
	Proven                                bool
	Steps                                 []struct {
		Step, Reason string
		Changed      bool
	}
	Drift []string
}

func (r result) changed() []string {
	var names []string
	for _, s := range r.Steps {
		if s.Changed {
			names = append(names, s.Step)
		}
	}
	return names
}

// fleetctl runs the program, wants an exit code and reads what it says of the host.
func (f fleet) fleetctl(want int, args ...string) result {
	f.t.Helper()
	r, err := f.try(want, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// try does what fleetctl does and may run beside the test.
func (f fleet) try(want int, args ...string) (result, error) {
	begin := time.Now()
	cmd := exec.CommandContext(f.t.Context(), os.Getenv("FLEETCTL"), append(slices.Clone(args), "-o", "json")...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "PATH="+f.dir+":"+os.Getenv("PATH"), "TELEPORT_CONFIG_FILE="+filepath.Join(f.dir, "teleport.yaml"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{}, err
	}
	var report struct{ Hosts []result }
	err = json.Unmarshal(stdout.Bytes(), &report)
	got := cmd.ProcessState.ExitCode()
	if want != exitAny && got != want || err != nil || len(report.Hosts) != 1 {
		return result{}, fmt.Errorf("fleetctl %s: exit %d, want %d\n%s\n%s", strings.Join(args, " "), got, want, &stderr, &stdout)
	}
	r := report.Hosts[0]
	f.t.Logf("%5.1f s  fleetctl %s: %s %s %s", time.Since(begin).Seconds(), strings.Join(args, " "), r.Outcome+r.State, r.Status, r.Message)
	return r, nil
}

// root runs a script on the machine, which must succeed.
func (f fleet) root(script string) string {
	f.t.Helper()
	out, err := f.Run(f.t.Context(), script)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}
