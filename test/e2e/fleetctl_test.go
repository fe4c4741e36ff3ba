package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/test/lab"
)

func TestMain(m *testing.M) {
	// Six parts at once, whatever the number of processors: they wait more than they work. -parallel says otherwise.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	lab.Main(m)
}

// Exit codes of fleetctl.
const (
	exitOK      = 0
	exitUsage   = 2
	exitFailed  = 3
	exitChanges = 4
)

// fleet is a lab and the fleetctl that works on it.
type fleet struct {
	*lab.Lab
	t    *testing.T
	dir  string // where fleetctl works: inventory.yaml, fleet.yaml, fleet.db, out
	name string // of the bot and the token
}

func newFleet(t *testing.T, l *lab.Lab) fleet {
	return fleet{Lab: l, t: t, dir: l.Dir, name: lab.FleetName}
}

// on returns the fleet for a subtest.
func (f fleet) on(t *testing.T) fleet {
	f.t = t
	return f
}

// apart returns a fleet of some of the lab's hosts with records, bot and token of its own, so that tests can run at once.
func (f fleet) apart(t *testing.T, name string, hosts ...string) fleet {
	t.Helper()
	f.t, f.name, f.dir = t, name, t.TempDir()
	some := *f.Lab
	some.Hosts = nil
	for _, host := range hosts {
		some.Hosts = append(some.Hosts, f.Host(host))
	}
	f.Lab = &some
	if err := f.WriteFiles(f.dir, name); err != nil {
		t.Fatal(err)
	}
	return f
}

// within bounds what a test waits for; it is no promise about speed.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// report is what `-o json` prints.
type report struct {
	Recap struct {
		Hosts  int
		Counts map[string]int
	}
	Hosts []result
}

type result struct {
	Host    string
	Outcome string
	Status  string
	Message string
	Hash    string `json:"ek_public_hash"`
	Serial  string `json:"ek_certificate_serial"`
	Proven  bool
	State   string // of status
	Log     []string
	Steps   []step
}

type step struct {
	Step    string
	Changed bool
}

// host returns a host's result.
func (r report) host(t *testing.T, name string) result {
	t.Helper()
	i := slices.IndexFunc(r.Hosts, func(h result) bool { return h.Host == name })
	if i < 0 {
		t.Fatalf("the report does not name %s", name)
	}
	return r.Hosts[i]
}

// fleetctl runs the program in the lab's directory, wants an exit code and reads the JSON on its standard output.
func (f fleet) fleetctl(want int, args ...string) report {
	f.t.Helper()
	stdout, stderr := f.run(want, append(args, "-o", "json")...)
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		f.t.Fatalf("fleetctl %v: %v\n%s\n%s", args, err, stdout, stderr)
	}
	return r
}

func (f fleet) run(want int, args ...string) (stdout, stderr string) {
	f.t.Helper()
	cmd := f.Command(within(f.t), "fleetctl", args...)
	cmd.Dir = f.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		f.t.Fatalf("fleetctl %s: exit %d, want %d\n%s\n%s", strings.Join(args, " "), got, want, errs.String(), out.String())
	}
	return out.String(), errs.String()
}

// disks reads the disks of all hosts that are there.
func (f fleet) disks() map[string]lab.Snapshot {
	f.t.Helper()
	disks := map[string]lab.Snapshot{}
	for _, h := range f.Hosts {
		if h.Spec.Down {
			continue
		}
		snap, err := h.Snapshot()
		if err != nil {
			f.t.Fatal(err)
		}
		disks[h.Name] = snap
	}
	return disks
}

// sameDisks reports every host whose disk differs.
func (f fleet) sameDisks(before map[string]lab.Snapshot) {
	f.t.Helper()
	for name, after := range f.disks() {
		if diff := before[name].Diff(after); len(diff) > 0 {
			f.t.Errorf("%s is not as it was:\n%s", name, strings.Join(diff, "\n"))
		}
	}
}

// noTraces reports what fleetctl left in a host's memory: files in directories that are not on its disk, and processes.
func (f fleet) noTraces() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	for _, h := range f.Hosts {
		if h.Spec.Down {
			continue
		}
		left, err := traces(ctx, h)
		for err == nil && len(left) > 0 { // sshd takes a moment to see that a connection is closed
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-time.After(100 * time.Millisecond):
				left, err = traces(ctx, h)
			}
		}
		if err != nil {
			f.t.Errorf("%s: %v, left behind:\n%s", h.Name, err, strings.Join(left, "\n"))
		}
	}
}

// traces lists files and processes that look like fleetctl's.
func traces(ctx context.Context, h *lab.Host) ([]string, error) {
	files, err := h.Exec(ctx, "find", "/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "-xdev",
		"(", "-path", "/run/systemd", "-o", "-path", "/run/udev", ")", "-prune", "-o",
		"(", "-name", "*fleetctl*", "-o", "-name", "*identify*", ")", "-print")
	if err != nil {
		return nil, err
	}
	processes, err := h.Exec(ctx, "ps", "-eo", "args=")
	if err != nil {
		return nil, err
	}
	left := strings.Fields(files)
	for line := range strings.Lines(processes) {
		if session := strings.HasPrefix(line, "sshd: ") && !strings.Contains(line, "[listener]"); session ||
			strings.Contains(line, "fleetctl") || strings.Contains(line, "identify") {
			left = append(left, strings.TrimSpace(line))
		}
	}
	return left, nil
}

// cluster returns what the cluster has of this fleet, as tctl prints it; "" when there is nothing.
func (f fleet) cluster() string {
	f.t.Helper()
	var all strings.Builder
	for _, ref := range []string{"bot/" + f.name, "token/" + f.name, "token/" + f.name + "-hash-only"} {
		out, err := f.Command(within(f.t), "tctl", "get", ref).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "not found") {
			f.t.Fatalf("tctl get %s: %v\n%s", ref, err, out)
		}
		if err == nil {
			all.Write(out)
		}
	}
	return all.String()
}

// instances asks the cluster which TPMs have joined as the bot: EKPub hash to the token of the last join.
func (f fleet) instances() map[string]string {
	f.t.Helper()
	out, err := f.Command(within(f.t), "tctl", "get", "bot_instance/"+f.name, "--format", "json").Output()
	if err != nil {
		f.t.Fatal(err)
	}
	var list []struct {
		Status struct {
			Latest []struct {
				Attrs struct {
					Meta struct {
						Token string `json:"join_token_name"`
					}
					TPM struct {
						Hash string `json:"ek_pub_hash"`
					}
				} `json:"join_attrs"`
			} `json:"latest_authentications"`
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		f.t.Fatalf("%v\n%s", err, out)
	}
	joined := map[string]string{}
	for _, instance := range list {
		for _, latest := range instance.Status.Latest {
			joined[latest.Attrs.TPM.Hash] = latest.Attrs.Meta.Token
		}
	}
	return joined
}

// start boots a host that is off and waits for its sshd.
func (f fleet) start(h *lab.Host) {
	f.t.Helper()
	if err := h.Start(); err != nil {
		f.t.Fatal(err)
	}
	if err := h.WaitSSH(within(f.t)); err != nil {
		f.t.Fatal(err)
	}
}

// waitJoined waits until the host's tbot is ready.
func (f fleet) waitJoined(h *lab.Host) {
	f.t.Helper()
	if out, err := h.Exec(within(f.t), "tbot", "wait", "--diag-addr", lab.DiagAddr, "--timeout", "60s"); err != nil {
		log, _ := h.Exec(within(f.t), "journalctl", "-u", "tbot", "-n", "20", "-o", "cat", "--no-pager")
		f.t.Errorf("%s has not joined: %v\n%s%s", h.Name, err, out, log)
	}
}

// quiet waits until nobody on a host has its TPM open: neither what a killed fleetctl left behind nor a tbot that joins.
// The lab's device, unlike a kernel's /dev/tpmrm0, takes one user at a time.
func (f fleet) quiet(h *lab.Host) {
	f.t.Helper()
	const script = `free=0
for i in $(seq 300); do
	if ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q /dev/tpm; then free=0; else free=$((free+1)); fi
	if [ $free -ge 5 ] && { ! systemctl is-active -q tbot || tbot wait --diag-addr ` + lab.DiagAddr + ` --timeout 30s; }; then exit 0; fi
	sleep 0.2
done
exit 1`
	if out, err := h.Exec(within(f.t), "sh", "-c", script); err != nil {
		f.t.Fatalf("%s: its TPM is never free: %v\n%s", h.Name, err, out)
	}
}
