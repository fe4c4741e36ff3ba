//go:build linux

package main

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// modes are the ways in which hosts run here: with file systems of their own where the machine allows, and without.
func modes(t *testing.T, test func(t *testing.T, isolate string)) {
	for _, isolate := range []string{"yes", "no"} {
		t.Run("isolate="+isolate, func(t *testing.T) {
			t.Parallel()
			if out, err := command(t, "-n=1", "-swtpm=off", "-isolate="+isolate, "true").CombinedOutput(); err != nil &&
				bytes.Contains(out, []byte(errIsolation.Error())) {
				t.Skipf("user namespaces are not allowed here: %s", out)
			}
			test(t, isolate)
		})
	}
}

func TestHostsRunWhatTheyAreTold(t *testing.T) {
	t.Parallel()
	need(t, "swtpm", "ssh")
	modes(t, func(t *testing.T, isolate string) {
		s := boot(t, "-n=3", "-isolate="+isolate)
		names := s.names()
		if slices.Sort(names); !slices.Equal(names, []string{"cache-01", "web-01", "web-02"}) {
			t.Fatalf("hosts %v", names)
		}
		for _, name := range names {
			got := s.run(t, name, `echo "$USER $LOGNAME"; echo hello >"$HOME/file"; cat "$HOME/file"; sudo -n -u root -- echo become`)
			if got != "root root\nhello\nbecome" {
				t.Errorf("%s: got %q", name, got)
			}
			file := filepath.Join(s.dir, "hosts", name, "root/file")
			if text, err := os.ReadFile(file); err != nil || string(text) != "hello\n" {
				t.Errorf("%s: got %q, %v", name, text, err)
			}
		}
		if err := s.ssh(t, "web-01", "exit 7").Run(); exitCode(err) != 7 {
			t.Errorf("exit 7: %v", err)
		}
	})
}

func TestAnIsolatedHostChangesNothingButItself(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	modes(t, func(t *testing.T, isolate string) {
		if isolate == "no" {
			t.Skip("hosts without namespaces have this machine's files")
		}
		s := boot(t, "-n=3", "-swtpm=off", "-isolate=yes")
		got := s.run(t, "web-01", `id -u; hostname; cat /etc/hostname
			for dir in /etc /var/lib /usr/local/bin /opt /run; do touch $dir/fleetsim-test || exit; done
			touch /usr/bin/fleetsim-test 2>/dev/null || echo refused
			getent passwd root; [ ! -e /var/lib/dpkg ] && echo own`)
		if want := "0\nweb-01\nweb-01\nrefused\nroot:x:0:0:root:/root:/bin/sh\nown"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := s.run(t, "cache-01", "hostname; ls /etc/fleetsim-test 2>/dev/null || echo none"); got != "cache-01\nnone" {
			t.Errorf("the other host: got %q", got)
		}
		if _, err := os.Stat("/etc/fleetsim-test"); err == nil {
			t.Error("/etc of this machine was written to")
		}
		if os.Getuid() == 0 {
			if got := s.run(t, "web-01", "touch /root/x; chown 33:44 /root/x; stat -c %u:%g /root/x"); got != "33:44" {
				t.Errorf("chown: got %s", got)
			}
		}
	})
}

// In a container, root may have no other ids, and no namespaces either.
func TestAContainersRootIsEnough(t *testing.T) {
	t.Parallel()
	need(t, "unshare")
	if out, err := exec.Command("unshare", "-Ur", "true").CombinedOutput(); err != nil {
		t.Skipf("user namespaces are not allowed here: %s", out)
	}
	for _, c := range []struct{ name, prepare, stderr string }{
		{"with namespaces of its own", "true", "1 hosts from"},
		{"without", "echo 0 >/proc/sys/user/max_user_namespaces", errIsolation.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// The test binary is fleetsim by its name; a link gives it that.
			link := filepath.Join(t.TempDir(), "fleetsim")
			self, err := os.Executable()
			if err == nil {
				err = os.Symlink(self, link)
			}
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("unshare", "-Ur", "sh", "-ec", c.prepare+`; exec "$0" "$@"`, link, "-n=1", "-swtpm=off", "--", "echo", "up")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || string(out) != "up\n" || !bytes.Contains(stderr.Bytes(), []byte(c.stderr)) {
				t.Errorf("got %q, %v\n%s", out, err, &stderr)
			}
		})
	}
}

func TestSystemctlRemembers(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	modes(t, func(t *testing.T, isolate string) {
		if isolate == "no" {
			t.Skip("hosts without namespaces have no units of their own")
		}
		s := boot(t, "-n=1", "-swtpm=off", "-isolate=yes")
		got := s.run(t, "web-01", `
			say() { printf '%s ' "$@"; "$@"; echo "($?)"; }
			say systemctl is-active tbot
			say systemctl show -p LoadState --value tbot
			systemctl start tbot 2>/dev/null && echo wrong
			echo '[Unit]' >/etc/systemd/system/tbot.service
			systemctl daemon-reload
			say systemctl show -p LoadState,ActiveState,UnitFileState tbot.service
			systemctl enable --now tbot
			say systemctl is-active tbot.service
			say systemctl is-enabled tbot
			systemctl disable --now tbot
			say systemctl is-enabled tbot
			say systemctl is-active tbot`)
		want := `systemctl is-active tbot inactive
(3)
systemctl show -p LoadState --value tbot not-found
(0)
systemctl show -p LoadState,ActiveState,UnitFileState tbot.service LoadState=loaded
ActiveState=inactive
UnitFileState=disabled
(0)
systemctl is-active tbot.service active
(0)
systemctl is-enabled tbot enabled
(0)
systemctl is-enabled tbot disabled
(1)
systemctl is-active tbot inactive
(3)`
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// dialTPM connects to a host's TPM from outside. Its path may be too long for a socket address, so go by a short one.
func (s *sim) dialTPM(t *testing.T, name string) transport.TPM {
	t.Helper()
	tpm, _ := s.dial(t, name)
	return tpm
}

func (s *sim) dial(t *testing.T, name string) (tpm transport.TPM, hangUp func()) {
	t.Helper()
	link := filepath.Join(s.dir, "t-"+name)
	if err := os.Symlink(filepath.Join(s.dir, "hosts", tpmSocket(name)), link); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", link)
	if err != nil {
		t.Fatal(err)
	}
	hangUp = func() { _ = c.Close() }
	t.Cleanup(hangUp)
	return transport.FromReadWriter(c), hangUp
}

// readEK returns the EK that the TPM derives and the certificate in NV, nil when there is none.
func readEK(t *testing.T, tpm transport.TPM) (*rsa.PublicKey, *x509.Certificate) {
	t.Helper()
	ek, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(tpm2.RSAEKTemplate)}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: ek.ObjectHandle}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	public, err := ek.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	params, err := public.Parameters.RSADetail()
	if err != nil {
		t.Fatal(err)
	}
	unique, err := public.Unique.RSA()
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.RSAPub(params, unique)
	if err != nil {
		t.Fatal(err)
	}
	return key, readCert(t, tpm)
}

func readCert(t *testing.T, tpm transport.TPM) *x509.Certificate {
	t.Helper()
	index, err := tpm2.NVReadPublic{NVIndex: ekCertIndex}.Execute(tpm)
	if err != nil {
		return nil
	}
	public, err := index.NVPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	var der []byte
	for len(der) < int(public.DataSize) {
		part, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: ekCertIndex, Name: index.NVName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: ekCertIndex, Name: index.NVName},
			Size:       min(512, public.DataSize-uint16(len(der))),
			Offset:     uint16(len(der)),
		}.Execute(tpm)
		if err != nil {
			t.Fatal(err)
		}
		der = append(der, part.Data.Buffer...)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestTPMsAreAsTheMixSays(t *testing.T) {
	t.Parallel()
	need(t, "swtpm")
	s := boot(t, "-n=6", "-mix=no-ekcert=1,foreign-ekcert=1,cloned=1,no-tpm=1")
	ours := s.issuer(t)
	seen := map[[32]byte]int{}
	counts := map[string]int{}
	for _, name := range s.names() {
		if _, err := os.Stat(filepath.Join(s.dir, "hosts", tpmSocket(name))); err != nil {
			counts["none"]++
			continue
		}
		key, cert := readEK(t, s.dialTPM(t, name))
		seen[sha256.Sum256(key.N.Bytes())]++
		switch {
		case cert == nil:
			counts["no certificate"]++
		case !key.Equal(cert.PublicKey):
			t.Errorf("%s: the certificate is not the EK's", name)
		case cert.CheckSignatureFrom(ours) == nil:
			counts["ours"]++
		default:
			counts["foreign"]++
		}
	}
	if want := map[string]int{"none": 1, "no certificate": 1, "ours": 3, "foreign": 1}; fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", counts, want)
	}
	if len(seen) != 4 {
		t.Errorf("got %d EKs in 5 TPMs, one of which is a clone", len(seen))
	}
}

func TestATPMFallsIdleAndKeepsItsKeys(t *testing.T) {
	t.Parallel()
	need(t, "swtpm")
	s := boot(t, "-n=1")
	tpm, hangUp := s.dial(t, "web-01")
	before, _ := readEK(t, tpm)
	if s.swtpm(t) == 0 {
		t.Fatal("no swtpm runs while its TPM is used")
	}
	hangUp()
	for s.swtpm(t) != 0 { // the test's deadline is the limit
		time.Sleep(10 * time.Millisecond) // nothing to wait on: it is no child of ours
	}
	if after, cert := readEK(t, s.dialTPM(t, "web-01")); !before.Equal(after) || cert == nil {
		t.Errorf("the EK changed, or its certificate is gone")
	}
}

// swtpm finds the process behind the only TPM of a fleet; 0 when there is none.
func (s *sim) swtpm(t *testing.T) (pid int) {
	t.Helper()
	for _, p := range s.processes(t, "no marker") {
		if !strings.Contains(p, "swtpm socket") {
			continue
		}
		if _, err := fmt.Sscan(p, &pid); err != nil {
			t.Fatal(err)
		}
	}
	return pid
}

// issuer is the last certificate of tpm-cas.pem: the one that issues EK certificates.
func (s *sim) issuer(t *testing.T) (issuer *x509.Certificate) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "tpm-cas.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if issuer, err = x509.ParseCertificate(block.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	return issuer
}

func TestATPMSurvivesItsEmulator(t *testing.T) {
	t.Parallel()
	need(t, "swtpm")
	s := boot(t, "-n=1")
	before, _ := readEK(t, s.dialTPM(t, "web-01"))
	if err := syscall.Kill(s.swtpm(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The command that is under way may fail; the next connection has a fresh emulator.
	_, _ = tpm2.GetRandom{BytesRequested: 8}.Execute(s.dialTPM(t, "web-01"))
	after, cert := readEK(t, s.dialTPM(t, "web-01"))
	if !before.Equal(after) || cert == nil {
		t.Errorf("the EK changed, or its certificate is gone")
	}
}

func TestSickHosts(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	modes(t, func(t *testing.T, isolate string) {
		for _, c := range []struct{ mix, want string }{
			{"down=1", "Connection refused"},
			{"changed-key=1", "Host key verification failed"},
		} {
			s := boot(t, "-n=1", "-swtpm=off", "-isolate="+isolate, "-mix="+c.mix)
			cmd := s.ssh(t, "web-01", "true")
			cmd.Args = slices.DeleteFunc(cmd.Args, func(a string) bool { return a == "-q" })
			out, err := cmd.CombinedOutput()
			if exitCode(err) != 255 || !bytes.Contains(out, []byte(c.want)) {
				t.Errorf("%s: %v\n%s", c.mix, err, out)
			}
		}
	})
}

func TestNothingSurvivesKill9(t *testing.T) {
	t.Parallel()
	need(t, "swtpm", "ssh")
	modes(t, func(t *testing.T, isolate string) {
		for _, victim := range []string{"fleetsim", keeperName, hostsName} {
			s := boot(t, "-n=1", "-isolate="+isolate)
			marker := fmt.Sprintf("sleep 1%09d", s.pid)
			arg := strings.ReplaceAll(marker, " ", "\x00")
			s.run(t, "web-01", "setsid "+marker+" >/dev/null 2>&1 </dev/null & until pgrep -f '^"+marker+"'; do :; done")
			readEK(t, s.dialTPM(t, "web-01"))
			before := s.processes(t, arg)
			if len(before) != 4 { // keeper, hosts, swtpm, sleep; fleetsim's own environment is older
				t.Fatalf("processes %q", before)
			}
			if err := syscall.Kill(s.find(t, victim), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.awaitGone(t, arg)
		}
	})
}

func (s *sim) find(t *testing.T, name string) (pid int) {
	t.Helper()
	if name == "fleetsim" {
		return s.pid
	}
	for _, p := range s.processes(t, "no marker") {
		if !strings.Contains(p, name) {
			continue
		}
		if _, err := fmt.Sscan(p, &pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatalf("no %s", name)
	return 0
}

func TestCommandRunsInTheDirectoryAndItsExitCodeIsOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := command(t, "-n=2", "-swtpm=off", "-dir", dir, "--", "sh", "-c", `pwd; echo "$FLEETSIM_DIR"; ls; exit 9`)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exitCode(err) != 9 {
		t.Errorf("exit code: %v\n%s", err, &stderr)
	}
	want := dir + "\n" + dir + "\nfleet.yaml\nhosts\nid_ed25519\ninventory.yaml\nknown_hosts\ntpm-cas.pem\n"
	if string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
	s := &sim{dir: dir}
	s.awaitGone(t, "no marker")
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no hosts", []string{"-n=0"}, 2, "-n 0"},
		{"too many hosts", []string{"-n=50001"}, 2, "50000"},
		{"an unknown flag", []string{"-x"}, 2, "-x"},
		{"an unknown condition", []string{"-mix=lost=1"}, 2, "lost"},
		{"no swtpm", []string{"-swtpm=/nowhere/swtpm"}, 2, "apt-get install swtpm"},
		{"an isolation that does not exist", []string{"-isolate=maybe"}, 2, "maybe"},
		{"a directory that can't be in ssh's options", []string{"-swtpm=off", "-dir=/tmp/a b", "true"}, 1, "only letters"},
		{"a command that does not exist", []string{"-n=1", "-swtpm=off", "--", "/nowhere/command"}, 1, "/nowhere/command"},
		{"help", []string{"-h"}, 0, "What is real"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, err := command(t, c.args...).CombinedOutput()
			if exitCode(err) != c.code || !bytes.Contains(out, []byte(c.want)) {
				t.Errorf("got %v, want exit code %d and %q in\n%s", err, c.code, c.want, out)
			}
		})
	}
}

func TestADirectoryIsForOneFleetAtATime(t *testing.T) {
	t.Parallel()
	s := boot(t, "-n=1", "-swtpm=off")
	out, err := command(t, "-n=1", "-swtpm=off", "-dir", s.dir, "true").CombinedOutput()
	if exitCode(err) != 1 || !bytes.Contains(out, []byte("another fleetsim")) {
		t.Errorf("got %v\n%s", err, out)
	}
}
