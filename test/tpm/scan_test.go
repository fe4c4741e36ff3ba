package tpm_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// fleet is one host that really runs what it is told, with an emulated TPM at a character device, and what a scan needs.
type fleet struct {
	home  string
	hosts []inventory.Host
	store store.Store
	opts  scan.Options
}

func newFleet(t *testing.T, e *emulator) *fleet {
	t.Helper()
	f := &fleet{home: t.TempDir()}
	own := t.TempDir()
	key, err := remotetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"HOME=" + f.home, "TMPDIR=" + f.home, "PATH=" + f.home + "/bin:/usr/bin:/bin"}
	server, err := remotetest.Start(remotetest.Config{Host: remotetest.Host{
		HostKeys: []ssh.Signer{key}, Password: "secret",
		Handler: remotetest.Shell(remotetest.ShellConfig{Dir: f.home, Env: env}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	known, source := filepath.Join(own, "known_hosts"), filepath.Join(own, "inventory.yaml")
	write(t, known, fmt.Sprintf("[127.0.0.1]:%d %s", server.Port(), ssh.MarshalAuthorizedKey(key.PublicKey())), 0o600)
	write(t, source, fmt.Sprintf("all: {hosts: {web-01: {ansible_host: 127.0.0.1, ansible_port: %d, ansible_user: me, "+
		"ansible_password: secret, ansible_become: false, tpm_device: %s, "+
		"ansible_ssh_common_args: '-F none -o UserKnownHostsFile=%s'}}}\n", server.Port(), e.characterDevice(t), known), 0o600)
	inv, err := inventory.Load(t.Context(), []string{source}, inventory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f.hosts, err = inv.Select("all"); err != nil {
		t.Fatal(err)
	}
	dialer, err := remote.NewDialer(remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	if f.store, err = store.Open(t.Context(), filepath.Join(own, "fleet.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.store.Close() })
	f.opts = scan.Options{
		Reach: work.Reach{Dialer: dialer, Forks: 1, Timeout: time.Minute}, Run: work.Run{Store: f.store, Logf: t.Logf},
		Ask: scan.Ask{Helpers: helpers(t), Proof: true},
	}
	return f
}

func write(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// helpers is the real helper, for this machine's architecture.
func helpers(t testing.TB) fstest.MapFS {
	t.Helper()
	binary, err := os.ReadFile(shared.helper(t))
	if err != nil {
		t.Fatal(err)
	}
	arch, err := exec.Command("go", "env", "GOARCH").Output()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"identify-linux-" + strings.TrimSpace(string(arch)) + ".gz": {Data: packed.Bytes()}}
}

func (f *fleet) scan(t *testing.T) (outcome.Result, store.Record) {
	t.Helper()
	run, err := f.store.BeginRun(t.Context(), "scan", len(f.hosts))
	if err != nil {
		t.Fatal(err)
	}
	f.opts.ID = run
	results, err := scan.Scan(t.Context(), f.hosts, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	record, err := f.store.Record(t.Context(), "web-01")
	if err != nil {
		t.Fatal(err)
	}
	return results[0], record
}

func TestEveryWayOfAScanSeesTheSameTPM(t *testing.T) {
	fakeTbot := func(t *testing.T, f *fleet, device, more string) {
		binary := shared.helper(t)
		write(t, filepath.Join(f.home, "bin", "tbot"), "#!/bin/sh\n[ \"$*\" = 'tpm identify' ] || exit 9\n"+
			"echo 'INFO something' >&2\n"+binary+" -text -device "+device+more+"\n", 0o755)
	}
	tests := []struct {
		name    string
		prepare func(*testing.T, *fleet, string)
		via     string
		proven  bool
		status  string
	}{
		{"the helper", func(*testing.T, *fleet, string) {}, scan.ViaHelper, true, ""},
		{"the shell", func(_ *testing.T, f *fleet, _ string) { f.opts.Via = scan.ViaShell }, scan.ViaShell, true, ""},
		{"the shell, because no helper fits", func(_ *testing.T, f *fleet, _ string) { f.opts.Helpers = fstest.MapFS{} },
			scan.ViaShell, true, ""},
		{"the host's tbot", func(t *testing.T, f *fleet, device string) {
			f.opts.Via = scan.ViaTbot
			fakeTbot(t, f, device, "")
		}, scan.ViaTbot, false, ""},
		{"no tbot on the host", func(_ *testing.T, f *fleet, _ string) { f.opts.Via = scan.ViaTbot }, "", false, "no-tbot"},
		{"a tbot that agrees", func(t *testing.T, f *fleet, device string) {
			f.opts.Compare = true
			fakeTbot(t, f, device, "")
		}, scan.ViaHelper, true, ""},
		{"a tbot that differs", func(t *testing.T, f *fleet, device string) {
			f.opts.Compare = true
			fakeTbot(t, f, device, " | sed 's/Hash: ../Hash: 00/'")
		}, "", false, "tbot-differs"},
		{"a tbot that fails", func(t *testing.T, f *fleet, _ string) {
			f.opts.Compare = true
			fakeTbot(t, f, "/nowhere", "")
		}, "", false, "tbot-failed"},
		{"no tbot to compare with", func(_ *testing.T, f *fleet, _ string) { f.opts.Compare = true }, scan.ViaHelper, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, certified)
			want := e.reference(t, errand{})
			before := e.contents(t)
			f := newFleet(t, e)
			test.prepare(t, f, f.hosts[0].Vars["tpm_device"].(string))
			result, record := f.scan(t)
			e.unchanged(t, before)
			if test.status != "" {
				if result.Outcome != outcome.Failed || string(result.Code) != test.status || record.Accepted != nil {
					t.Errorf("%+v, %+v", result, record)
				}
				t.Log(result.Message, "|", result.Hint)
				return
			}
			if result.Outcome != outcome.OK || result.EKHash != want.Hash || result.Serial != want.Serial || result.Proven != test.proven {
				t.Fatalf("%+v, go-attestation says %+v", result, want)
			}
			if record.Accepted == nil || record.Accepted.EKHash != want.Hash || record.Accepted.Via != test.via {
				t.Errorf("record %+v", record.Accepted)
			}
		})
	}
}

func TestWhatTheHelperPrintsByHandCanBeImported(t *testing.T) {
	e := start(t, certified)
	want := e.reference(t, errand{})
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	printed := func(mode string) []byte {
		out, err := exec.Command(shared.helper(t), mode, "-device", e.Socket).Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run, err := st.BeginRun(t.Context(), "import", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.EndRun(t.Context(), run, "done") }()
	named := bytes.Replace(printed("-json"), []byte("{"), []byte(`{"host":"db-01",`), 1)
	for host, text := range map[string][]byte{"web-01": printed("-text"), "db-01": named} {
		opts := records.ImportOptions{Run: run}
		if host == "web-01" {
			opts.Host = host
		}
		results, err := records.Import(t.Context(), st, bytes.NewReader(text), opts)
		if err != nil || len(results) != 1 || results[0].Host != host || results[0].EKHash != want.Hash || results[0].Serial != want.Serial {
			t.Errorf("%s: %v, %+v", host, err, results)
		}
	}
	record, err := st.Record(t.Context(), "db-01")
	if err != nil || record.Last == nil || !bytes.Contains(record.Last.TPM, []byte(`"manufacturer":"IBM"`)) ||
		record.Last.Identity.Proven || record.Last.Identity.Via != records.ViaImport || len(record.Last.Identity.EKCert) == 0 {
		t.Errorf("%v, %+v", err, record.Last)
	}
}
