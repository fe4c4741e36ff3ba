package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/test/lab"
)

// row are versions on both sides of what changed between them (test/cluster/versions/versions.yaml), and two that nobody
// has seen yet.
var row = []string{
	"15.4.20", "16.4.7", "17.2.7", "17.2.8", "17.5.3", "17.7.16", "18.0.1", "18.3.2", "18.4.0", "18.8.0", "19.0.0", "20.0.0",
}

// stages of the way that each version is taken.
var wholeWay = []struct {
	name string
	run  func(fleet) error
}{
	{"enroll", fleet.versionEnrolls}, {"again", fleet.versionEnrollsAgain}, {"status", fleet.versionIsHealthy},
	{"revoked", fleet.versionIsRevoked}, {"refused", fleet.versionIsRefused}, {"remove", fleet.versionIsRemoved},
}

// TestVersions takes a host of every version in the row, with a cluster of the same version, from the first enroll to its
// removal, and logs a table of what passed.
func TestVersions(t *testing.T) {
	if lab.Real() {
		t.Skip("the real programs have one version each")
	}
	var specs []lab.Spec
	for _, version := range row {
		specs = append(specs, lab.Spec{Name: hostOf(version), Tbot: version})
	}
	f := newFleet(t, lab.Up(t, specs...))
	passed := make([][]string, len(row))
	t.Run("row", func(t *testing.T) {
		for i, version := range row {
			beside, err := f.Beside(version)
			if err != nil {
				t.Fatal(err)
			}
			own := f
			own.Lab = beside
			own = own.apart(t, "fleet-"+hostOf(version), hostOf(version))
			t.Run(version, func(t *testing.T) {
				t.Parallel()
				passed[i] = own.on(t).wayOf(version)
			})
		}
	})
	table := fmt.Sprintf("%-10s", "version")
	for _, stage := range wholeWay {
		table += fmt.Sprintf("%-9s", stage.name)
	}
	for i, version := range row {
		table += fmt.Sprintf("\n%-10s", version)
		for _, word := range passed[i] {
			table += fmt.Sprintf("%-9s", word)
		}
	}
	t.Logf("what passed:\n%s", table)
}

func hostOf(version string) string { return "v" + strings.ReplaceAll(version, ".", "-") }

// wayOf runs the stages and returns a word for each: "ok", "failed", or "-" for all behind an enroll that failed.
func (f fleet) wayOf(version string) []string {
	f.tbotConfig(map[string]any{"services": identityIn("/opt/machine-id"), "credential_ttl": "2h", "renewal_interval": "30m"})
	words := slices.Repeat([]string{"-"}, len(wholeWay))
	for i, stage := range wholeWay {
		words[i] = "ok"
		if err := stage.run(f); err != nil {
			words[i] = "failed"
			f.t.Errorf("%s: %s: %v", version, stage.name, err)
		}
		if words[0] != "ok" {
			break
		}
	}
	return words
}

// identityIn is a service that writes into a directory.
func identityIn(dir string) []any {
	return []any{map[string]any{"type": "identity", "destination": map[string]any{"type": "directory", "path": dir}}}
}

// try runs fleetctl and reads its report; the error says what it was if the exit code is none of those wanted.
func (f fleet) try(want []int, args ...string) (r report, err error) {
	cmd := f.Command(within(f.t), "fleetctl", append(args, "-o", "json")...)
	cmd.Dir = f.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return r, err
	}
	if got := cmd.ProcessState.ExitCode(); !slices.Contains(want, got) {
		return r, fmt.Errorf("fleetctl %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, want, &errs, &out)
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("fleetctl %s: %w\n%s%s", strings.Join(args, " "), err, &errs, &out)
	}
	if len(r.Hosts) != 1 {
		return r, fmt.Errorf("fleetctl %s: %d hosts in the report", strings.Join(args, " "), len(r.Hosts))
	}
	return r, nil
}

func (f fleet) versionEnrolls() error {
	r, err := f.try([]int{exitOK}, "enroll")
	if err != nil {
		return err
	}
	if r.Hosts[0].Outcome != "changed" {
		return fmt.Errorf("%+v", r.Hosts[0])
	}
	hash, _, err := identity(f.Hosts[0])
	if err != nil {
		return err
	}
	joined, err := f.Store.JoinedHashes(f.name)
	if err != nil || joined[hash] != f.name {
		return fmt.Errorf("the cluster saw the joins %v, %w", joined, err)
	}
	if got := f.exec(f.Hosts[0].Name, "ls", "/opt/machine-id"); !strings.Contains(got, "identity") {
		return fmt.Errorf("the service wrote %q", got)
	}
	return nil
}

func (f fleet) versionEnrollsAgain() error {
	process := func() string {
		return f.exec(f.Hosts[0].Name, "systemctl", "show", "--property=MainPID,ActiveState,NRestarts", "tbot")
	}
	disks, cluster, pid := f.disks(), f.cluster(), process()
	r, err := f.try([]int{exitOK}, "enroll")
	if err != nil {
		return err
	}
	if h := r.Hosts[0]; h.Outcome != "ok" || len(h.changed()) > 0 {
		return fmt.Errorf("%+v", h)
	}
	if got := process(); got != pid || f.cluster() != cluster {
		return fmt.Errorf("tbot was %s, is %s; the cluster had:\n%s\nand has:\n%s", pid, got, cluster, f.cluster())
	}
	f.sameDisks(disks)
	return nil
}

func (f fleet) versionIsHealthy() error {
	r, err := f.try([]int{exitOK}, "status")
	if err == nil && r.Hosts[0].State != "healthy" {
		err = fmt.Errorf("%+v", r.Hosts[0])
	}
	return err
}

// versionIsRevoked takes the token away and restarts tbot, which some versions survive: fleetctl must not say then that the
// host is well, and has to repair it.
func (f fleet) versionIsRevoked() error {
	token := f.tctl("get", "token/"+f.name)
	f.tctl("rm", "token/"+f.name)
	f.exec(f.Hosts[0].Name, "sh", "-c", `systemctl restart tbot
		until journalctl -u tbot -o cat --no-pager -n 200 | grep -q "token expired or not found"; do sleep 0.1; done`)
	r, err := f.try([]int{exitFailed, exitChanges}, "status")
	if err != nil {
		return err
	}
	if h := r.Hosts[0]; h.State == "healthy" {
		return fmt.Errorf("without its token: %+v", h)
	}
	before, err := f.joins()
	if err != nil {
		return err
	}
	create := f.Command(within(f.t), "tctl", "create", "-f")
	create.Stdin = strings.NewReader(token)
	if out, err := create.CombinedOutput(); err != nil {
		return fmt.Errorf("tctl create: %w\n%s", err, out)
	}
	if err := f.rejoins(before); err != nil {
		return err
	}
	_, err = f.try([]int{exitOK}, "enroll")
	return err
}

// joins is how often the host has joined.
func (f fleet) joins() (n int32, err error) {
	list, err := f.Store.Instances(f.name)
	for _, instance := range list {
		latest := instance.GetStatus().GetLatestAuthentications()
		n += latest[len(latest)-1].GetGeneration()
	}
	return n, err
}

// rejoins waits until a tbot that was refused has joined by itself, once more than before: one that goes on asks again, and systemd starts one that
// ended. The lab's TPMs take one user at a time, so fleetctl would be in its way.
func (f fleet) rejoins(before int32) error {
	for ctx := within(f.t); ; {
		if now, err := f.joins(); err != nil || now > before {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("tbot has not joined again")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// versionIsRefused has the cluster lose its licence while the configuration changes: enroll must say why tbot can't join,
// also of a tbot that goes on with its old identity, and go through once the licence is there.
func (f fleet) versionIsRefused() error {
	server, err := f.Store.Server()
	if err != nil {
		return err
	}
	server.OSS = true
	if err := f.Store.SetServer(server); err != nil {
		return err
	}
	f.tbotConfig(map[string]any{"services": identityIn("/opt/other")})
	r, err := f.try([]int{exitFailed}, "enroll", "--join-timeout", "20s")
	before, joinsErr := f.joins()
	server.OSS = false
	if err := errors.Join(err, joinsErr, f.Store.SetServer(server)); err != nil {
		return err
	}
	if h := r.Hosts[0]; h.Outcome != "failed" || h.Status != "needs-enterprise" {
		return fmt.Errorf("%s %s: %s\n%s", h.Outcome, h.Status, h.Message, strings.Join(h.Log, "\n"))
	}
	if err := f.rejoins(before); err != nil {
		return err
	}
	_, err = f.try([]int{exitOK}, "enroll")
	return err
}

func (f fleet) versionIsRemoved() error {
	f.run(exitOK, "remove", "--yes", f.Hosts[0].Name)
	if got := f.cluster(); strings.Contains(got, "ek_public_hash") {
		return fmt.Errorf("rules are left:\n%s", got)
	}
	left := f.exec(f.Hosts[0].Name, "sh", "-c", "ls -d /etc/tbot.yaml /etc/systemd/system/tbot.service* /var/lib/teleport/bot 2>/dev/null; :")
	active := f.exec(f.Hosts[0].Name, "sh", "-c", "systemctl is-active tbot; :")
	if left != "" || active == "active" {
		return fmt.Errorf("tbot is %s; left are %s", active, left)
	}
	return nil
}
