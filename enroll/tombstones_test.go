package enroll

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

// readFile is a file of the output directory; "" when there is none.
func (l *lab) readFile(name string) string {
	raw, _ := os.ReadFile(filepath.Join(l.out, name))
	return string(raw)
}

// loseRecords puts new records in the place of the old ones.
func (l *lab) loseRecords() { l.Store = enrolltest.Store(l.t) }

func TestARemovedMachineStaysOutWhenTheRecordsAreLost(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Yes: true}); err != nil {
		t.Fatal(err)
	}
	file := l.readFile(token.TombstoneFile)
	if !strings.Contains(file, l.host["web-01"].TPM.EKHash()) {
		t.Fatalf("the file has %q", file)
	}
	l.loseRecords()
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	dry, err := l.tokens(TokensOptions{Diff: true, Check: true})
	if dry.Set == nil || dry.Set.TokenOf("web-01") != "" || dry.Set.TokenOf("web-02") == "" {
		t.Errorf("dry run: %v, %+v", err, dry.Set)
	}
	if m := l.machine("web-01"); m.State != "" {
		t.Errorf("the dry run wrote %+v", m)
	}
	for i := range 2 {
		// The first run says that the records are old.
		if _, err := l.tokens(TokensOptions{Apply: true}); err != nil && (i > 0 || !errors.Is(err, outcome.ErrHostsFailed)) {
			t.Fatal(err)
		}
		if l.admits("web-01", "fleet") != "" || l.admits("web-02", "fleet") == "" {
			t.Errorf("the cluster admits %v", l.cluster.Rules("fleet"))
		}
		if m := l.machine("web-01"); m.State != store.Removed || m.Host != "web-01" || m.Run == 0 {
			t.Errorf("the records have %+v", m)
		}
		if now := l.readFile(token.TombstoneFile); now != file {
			t.Errorf("the file became %s", now)
		}
	}
	if n := heard[TombstonesCount](l); len(n) != 2 { // the dry run's and the first one's
		t.Errorf("said %+v", n)
	}
}

func TestTheFileOfTombstonesIsWrittenInEveryFormat(t *testing.T) {
	t.Parallel()
	for _, format := range []string{token.FormatTctl, token.FormatTerraform, token.FormatKubernetes} {
		l := scanned(t, 2)
		m := store.Machine{EKHash: l.host["web-01"].TPM.EKHash(), State: store.Removed, Host: "web-01"}
		if err := l.Store.SetStates(t.Context(), "remove", m); err != nil {
			t.Fatal(err)
		}
		_, err := l.tokens(TokensOptions{Format: format, Check: true})
		if !errors.Is(err, outcome.ErrChanges) || !strings.Contains(l.differing(), token.TombstoneFile) || l.files() != "" {
			t.Errorf("%s: dry run: %v, %q", format, err, l.differing())
		}
		for _, want := range []bool{true, false} {
			l.heard.forget()
			if _, err := l.tokens(TokensOptions{Format: format}); err != nil || strings.Contains(l.written(), token.TombstoneFile) != want {
				t.Errorf("%s: %v, wrote %q", format, err, l.written())
			}
		}
	}
}

func TestAFileOfTombstonesThatCannotBeReadStopsEverything(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	path := filepath.Join(l.out, token.TombstoneFile)
	if err := os.WriteFile(path, []byte("mine: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rules := len(l.cluster.Rules("fleet"))
	_, err := l.tokens(TokensOptions{Apply: true})
	_, rerr := l.remove(RemoveOptions{Names: []string{"web-01"}, Yes: true})
	for _, err := range []error{err, rerr} {
		if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v", err)
		}
	}
	if m := l.machine("web-01"); len(l.cluster.Rules("fleet")) != rules || l.readFile(token.TombstoneFile) != "mine: true\n" || m.State != "" {
		t.Errorf("something was done: %v, %+v", l.cluster.Rules("fleet"), m)
	}
}

// Without a name in fleet.yaml the fleet is called as its first token was, which may be called otherwise when the records are lost.
func TestTheFilesSayWhichFleetItIsWhenTheRecordsAreLost(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	old := l.readFile("fleet.yaml")
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Yes: true}); err != nil {
		t.Fatal(err)
	}
	l.loseRecords()
	l.Config.Token.Name = "prod"
	if _, err := l.enroll(func(o *EnrollOptions) { o.Check = true }); !errors.Is(err, outcome.ErrChanges) {
		t.Errorf("a dry run: %v", err)
	}
	l.put(old) // which admits it
	for range 2 {
		if _, err := l.enroll(); err != nil && !errors.Is(err, outcome.ErrHostsFailed) {
			t.Fatal(err)
		}
	}
	if bound, err := l.Store.Bound(t.Context()); err != nil || bound.Fleet != "fleet" {
		t.Errorf("%+v, %v", bound, err)
	}
	if in := l.admits("web-01", "fleet", "prod"); in != "" {
		t.Errorf("the removed machine is admitted by %s", in)
	}
	for _, host := range []string{"web-02", "web-03"} {
		if in := l.admits(host, "fleet", "prod"); !strings.Contains(in, "prod") {
			t.Errorf("%s is admitted by %q", host, in)
		}
	}
}

func TestADirectoryHoldsTheTokensOfOneFleet(t *testing.T) {
	t.Parallel()
	for name, run := range everyCommand {
		if name == "status" {
			continue // it has nothing to do with files
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.enrolled()
			l.loseRecords()
			if _, err := l.scan(); err != nil {
				t.Fatal(err)
			}
			l.Config.Fleet, l.Config.Token.Name = "second", "second"
			file := l.readFile("fleet.yaml")
			before := len(l.cluster.Commands())
			if err := run(l); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "holds tokens of fleet fleet, and this is fleet second") {
				t.Errorf("%v", err)
			}
			if asked := l.asked(before); len(asked) > 0 || l.readFile("fleet.yaml") != file {
				t.Errorf("it asked the cluster to %v", asked)
			}
		})
	}
}

func TestAScanKnowsWhoWasRemovedWhenTheRecordsAreLost(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.enrolled()
	if _, err := l.remove(RemoveOptions{Names: []string{"web-01"}, Yes: true}); err != nil {
		t.Fatal(err)
	}
	file := l.readFile(token.TombstoneFile)
	l.loseRecords()
	report, err := l.scan(func(o *ScanOptions) { o.Out = l.out })
	l.check("scan", report.Results, err, "web-01 skipped removed-ek, web-02 ok", nil)
	if m := l.machine("web-01"); m.State != store.Removed || l.readFile(token.TombstoneFile) != file {
		t.Errorf("%+v", m)
	}
	l.loseRecords()
	if err := os.WriteFile(filepath.Join(l.out, token.TombstoneFile), []byte(file[:len(file)/2]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.scan(func(o *ScanOptions) { o.Out = l.out }); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("half of the file: %v", err)
	}
}
