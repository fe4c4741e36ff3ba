package work_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// This file has what public bug reports about Ansible and SSH tools say that people have, from the inventory to a real sshd,
// sudo, doas and su, a test a report.

// site is a directory with an inventory.
type site struct {
	t      *testing.T
	dir    string
	opts   remote.Options
	reach  work.Reach
	limit  time.Duration // for a host; 0: none
	warned []string
	mu     sync.Mutex
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.opts = remote.Options{Logf: t.Logf, Retries: -1, Warn: func(text string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.warned = append(s.warned, text)
	}}
	return s
}

func (s *site) write(name, content string, mode os.FileMode) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), mode)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

// common are the variables of all hosts: the server's, which is known, and nothing of this machine's configuration.
func common(server *remotetest.SSHD) string {
	return fmt.Sprintf(`
  vars:
    ansible_host: 127.0.0.1
    ansible_port: %d
    ansible_ssh_private_key_file: %s
    ansible_ssh_common_args: -F none -o UserKnownHostsFile=%s -o GlobalKnownHostsFile=none -o IdentityAgent=none
`, server.Port, server.KeyFile, server.Known)
}

// become runs a command as root on a host of the inventory, and returns what it said.
func (s *site) become(text, name string) (string, error) { return s.run(text, name, true) }

func (s *site) login(text, name string) error {
	said, err := s.run(text, name, false)
	if err == nil && said == "" {
		s.t.Errorf("%s: nothing was run", name)
	}
	return err
}

func (s *site) run(text, name string, become bool) (string, error) {
	s.t.Helper()
	source := "inventory.yml"
	if strings.HasPrefix(text, "[") {
		source = "inventory.ini"
	}
	inv, err := inventory.Load(s.t.Context(), []string{s.write(source, text, 0o600)}, inventory.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	hosts, err := inv.Select(name)
	if err != nil || len(hosts) != 1 {
		s.t.Fatalf("%d hosts, %v", len(hosts), err)
	}
	d, err := remote.NewDialer(s.opts)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	reach := s.reach
	reach.Dialer = d
	ctx := s.t.Context()
	if s.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.limit)
		defer cancel()
	}
	c, err := reach.Dial(ctx, hosts[0])
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	out, err := c.Run(s.t.Context(), remote.Cmd{Script: "id -un", Become: become})
	return strings.TrimSpace(string(out.Stdout)), err
}

// wants holds an error against what it has to be and to say; hint is of what it advises.
func wants(t *testing.T, err, kind error, say, hint string) {
	t.Helper()
	var e *remote.Error
	if !errors.Is(err, kind) || !errors.As(err, &e) || !strings.Contains(err.Error(), say) || !strings.Contains(e.Hint, hint) {
		t.Errorf("got %v (%#v), want %v with %q and the hint %q", err, e, kind, say, hint)
	}
}

func wantsRoot(t *testing.T, who string, err error) {
	t.Helper()
	if who != "root" || err != nil {
		t.Errorf("became %q, %v", who, err)
	}
}

const password = "good-pass"

func user(t *testing.T, sudoers string) string {
	t.Helper()
	name, _ := remotetest.NewUser(t, remotetest.UserConfig{Password: password, Sudoers: sudoers})
	return name
}

const (
	withPassword    = "USER ALL=(ALL) ALL"
	withoutPassword = "USER ALL=(ALL) NOPASSWD: ALL"
)

func host(server *remotetest.SSHD, vars string, args ...any) string {
	return "all:" + common(server) + "  hosts:\n    h: {" + fmt.Sprintf(vars, args...) + "}\n"
}

func TestCase01BecomeFlags(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	asked, free := user(t, withPassword), user(t, withoutPassword)
	for _, flags := range []string{"-H -S -n", "-HSn", "--non-interactive -H", "-n", "-H -S", "-E"} {
		who, err := newSite(t).become(host(server, "ansible_user: %s, ansible_become_password: good-pass, ansible_become_flags: %q", asked, flags), "h")
		wantsRoot(t, who, err)
		who, err = newSite(t).become(host(server, "ansible_user: %s, ansible_become_flags: %q", free, flags), "h")
		wantsRoot(t, who, err)
		_, err = newSite(t).become(host(server, "ansible_user: %s, ansible_become_flags: %q", asked, flags), "h")
		wants(t, err, remote.ErrBecomeNeedsPass, "", "password")
	}
}

// TestCase01NoFlagIsForced has a sudo whose PAM stack needs no answer, which sudo -n never finds out.
func TestCase01NoFlagIsForced(t *testing.T) {
	t.Parallel()
	pam := filepath.Join(remotetest.SharedDir(t), "sudo")
	if err := os.WriteFile(pam, []byte("auth sufficient pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := remotetest.StartSSHDInNamespace(t, "mount --bind "+pam+" /etc/pam.d/sudo")
	name := user(t, withPassword)
	who, err := newSite(t).become(host(server, "ansible_user: %s, ansible_become_flags: -H -S", name), "h")
	wantsRoot(t, who, err)
	_, err = newSite(t).become(host(server, "ansible_user: %s, ansible_become_flags: -H -S -n", name), "h")
	wants(t, err, remote.ErrBecomeNeedsPass, "", "")
}

func TestCase03QualifiedNames(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	name := user(t, withoutPassword)
	remotetest.DoasConf(t, "permit nopass "+name+"\n")
	for _, method := range []string{
		"community.general.doas", "ansible.builtin.doas", "ansible.legacy.sudo", "ansible.builtin.sudo", "doas", "sudo",
	} {
		who, err := newSite(t).become(host(server, "ansible_user: %s, ansible_connection: ansible.legacy.ssh, ansible_become_method: %s", name, method), "h")
		wantsRoot(t, who, err)
	}
	_, err := newSite(t).become(host(server, "ansible_user: %s, ansible_become_method: community.general.pbrun", name), "h")
	wants(t, err, remote.ErrBecome, "community.general.pbrun", "sudo, doas or su")
}

func TestCase04ExeOfSeveralWords(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	asked, free := user(t, withPassword), user(t, withoutPassword)
	ini := fmt.Sprintf(`[vms:vars]
ansible_ssh_private_key_file=%s
ansible_user=%s
ansible_become=yes
ansible_become_method=su
ansible_become_exe="sudo su -"
ansible_ssh_common_args=-F none -o UserKnownHostsFile=%s

[vms]
127.0.0.1:%d
`, server.KeyFile, free, server.Known, server.Port)
	who, err := newSite(t).become(ini, "127.0.0.1")
	wantsRoot(t, who, err)
	for _, exe := range []string{"/usr/bin/env sudo", "LANG=C sudo", "sudo -E", "sudo"} {
		who, err := newSite(t).become(host(server, "ansible_user: %s, ansible_become_exe: %s, ansible_become_password: good-pass", asked, exe), "h")
		wantsRoot(t, who, err)
	}
	// This sudo reads passwords from a terminal alone.
	sudoSu := "ansible_user: %s, ansible_become_method: su, ansible_become_exe: sudo su -, ansible_become_password: %s"
	who, err = newSite(t).become(host(server, sudoSu, asked, password), "h")
	wantsRoot(t, who, err)
	_, err = newSite(t).become(host(server, sudoSu, asked, "wrong"), "h")
	wants(t, err, remote.ErrBecomePassword, "", "")
	_, err = newSite(t).become(host(server, "ansible_user: %s, ansible_become_exe: nosuch sudo", free), "h")
	wants(t, err, remote.ErrBecome, "nosuch: not found", "not installed")
	_, err = newSite(t).become(host(server, "ansible_user: %s, ansible_become_exe: \"sudo; id\"", free), "h")
	wants(t, err, remote.ErrConfig, "sudo; id", "")
}

func TestCase06NoiseThatSaysChangeYourPassword(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	lecture := filepath.Join(server.Dir, "lecture")
	if err := os.WriteFile(lecture, []byte("Use of sudo is logged. Change your password every 90 days.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	talks, home := remotetest.NewUser(t, remotetest.UserConfig{Password: password, Sudoers: withPassword, Shell: "/bin/bash"})
	rc := "echo 'Reminder: change your password every 90 days. sudo: a password is required' >&2\n"
	if err := os.WriteFile(filepath.Join(home, ".bashrc"), []byte(rc), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{talks, user(t, "Defaults:USER lecture=always, lecture_file="+lecture+"\n"+withPassword)} {
		who, err := newSite(t).become(host(server, "ansible_user: %s, ansible_become_password: good-pass", name), "h")
		wantsRoot(t, who, err)
		_, err = newSite(t).become(host(server, "ansible_user: %s, ansible_become_password: wrong", name), "h")
		wants(t, err, remote.ErrBecomePassword, "", "check the password")
	}
}

// pamSSHD is a sshd whose users log in by a PAM stack of their own; COUNT in it is a program that counts its calls in the
// file that is returned, and takes its time.
func pamSSHD(t *testing.T, stack string) (server *remotetest.SSHD, count string) {
	t.Helper()
	remotetest.NeedRoot(t)
	dir := remotetest.SharedDir(t)
	count = filepath.Join(dir, "count")
	for name, content := range map[string]string{
		"slow": "#!/bin/sh\necho x >>" + count + "\nexec sleep 30\n",
		"sshd": strings.ReplaceAll(stack, "COUNT", filepath.Join(dir, "slow")) + "\naccount required pam_permit.so\nsession required pam_permit.so\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return remotetest.StartSSHDInNamespace(t, "mount --bind "+filepath.Join(dir, "sshd")+" /etc/pam.d/sshd",
		"UsePAM yes", "KbdInteractiveAuthentication yes", "AuthenticationMethods keyboard-interactive"), count
}

func TestCase08TextsOfPAMBeforeTheQuestion(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"Use your AD account. To change your password go to https://id.example.com",
		"New password rules: your current password must have 12 characters.", "Your password has expired in the past? Call us.",
	} {
		server, _ := pamSSHD(t, "auth optional pam_echo.so "+text+"\nauth required pam_unix.so")
		name := user(t, "")
		if err := newSite(t).login(host(server, "ansible_user: %s, ansible_password: good-pass", name), "h"); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		err := newSite(t).login(host(server, "ansible_user: %s, ansible_password: wrong", name), "h")
		wants(t, err, remote.ErrAuth, "rejected", "")
	}
}

func TestCase09ASlowLoginIsNotRepeated(t *testing.T) {
	t.Parallel()
	server, count := pamSSHD(t, "auth optional pam_exec.so quiet COUNT\nauth required pam_unix.so")
	s := newSite(t)
	s.opts.AuthTimeout, s.opts.Retries = 2*time.Second, 3
	err := s.login(host(server, "ansible_user: %s, ansible_password: good-pass", user(t, "")), "h")
	wants(t, err, remote.ErrTimeout, "authentication", "")
	if data, err := os.ReadFile(count); string(data) != "x\n" {
		t.Errorf("it was asked for %q (%v)", data, err)
	}
}

func TestCase09ASlowBecomeIsNamed(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	slow := filepath.Join(server.Dir, "slow")
	if err := os.WriteFile(slow, []byte("#!/bin/sh\nprintf 'Verification code: ' >&2\nexec sleep 30\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.opts.AuthTimeout = time.Second
	_, err := s.become(host(server, "ansible_user: %s, ansible_become_exe: %s", user(t, withoutPassword), slow), "h")
	wants(t, err, remote.ErrBecome, `no answer within 1s; it waits behind "Verification code:"`, "ansible_timeout")
}

func TestCase10AnAccountThatRunsNothing(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	sftp := remotetest.StartSSHD(t, "ForceCommand internal-sftp")
	nologin, _ := remotetest.NewUser(t, remotetest.UserConfig{Shell: "/usr/sbin/nologin"})
	other := user(t, withoutPassword)
	for _, become := range []bool{true, false} {
		_, err := newSite(t).run(host(server, "ansible_user: %s", nologin), "h", become)
		wants(t, err, remote.ErrLoginShell, "This account is currently not available.", "")
		_, err = newSite(t).run(host(sftp, "ansible_user: %s", other), "h", become)
		wants(t, err, remote.ErrLoginShell, "This service allows sftp connections only.", "")
	}
	_, err := newSite(t).become(host(server, "ansible_user: root, ansible_become_method: su, ansible_become_user: %s", nologin), "h")
	wants(t, err, remote.ErrBecome, "This account is currently not available.", "login shell")
}

func known(t *testing.T, server *remotetest.SSHD, kind string) string {
	t.Helper()
	dir := t.TempDir()
	remotetest.KeyGen(t, filepath.Join(dir, "k"), kind)
	pub, err := os.ReadFile(filepath.Join(dir, "k.pub"))
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("[127.0.0.1]:%d %s", server.Port, pub)
	if err := os.WriteFile(server.Known, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	return line
}

func TestCase11AHostKeyOfAnotherType(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	for _, kind := range []string{"rsa", "ecdsa"} {
		known(t, server, kind)
		err := newSite(t).login(host(server, "ansible_user: %s", server.User), "h")
		wants(t, err, remote.ErrHostKeyChanged, "ssh-"+"ed25519", fmt.Sprintf("ssh-keygen -R '[127.0.0.1]:%d' -f ", server.Port))
	}
}

func TestCase12WhatOpenSSHOffersByDefault(t *testing.T) {
	t.Parallel()
	for _, lines := range [][]string{
		{"KexAlgorithms diffie-hellman-group16-sha512"}, {"KexAlgorithms diffie-hellman-group-exchange-sha256"},
		{"KexAlgorithms ecdh-sha2-nistp521"}, {"MACs hmac-sha2-512", "Ciphers aes192-ctr"}, {"Ciphers chacha20-poly1305@openssh.com"},
	} {
		server := remotetest.StartSSHD(t, lines...)
		for _, args := range []string{"", "-o KexAlgorithms=+diffie-hellman-group16-sha512"} {
			err := newSite(t).login(host(server, "ansible_user: %s, ansible_ssh_extra_args: %q", server.User, args), "h")
			if err != nil {
				t.Errorf("%s, %s: %v", lines, args, err)
			}
		}
	}
	server := remotetest.StartSSHD(t, "KexAlgorithms diffie-hellman-group18-sha512")
	err := newSite(t).login(host(server, "ansible_user: %s", server.User), "h")
	wants(t, err, remote.ErrConfig, "it offers diffie-hellman-group18-sha512", "")
}

func TestCase13ListsOfWhichNothingIsKnown(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	for option, args := range map[string]string{
		"KexAlgorithms":     "-o KexAlgorithms=sntrup761x25519-sha512@openssh.com",
		"Ciphers":           "-o Ciphers=aes256-cbc",
		"MACs":              "-o MACs=umac-128-etm@openssh.com -o Ciphers=aes256-ctr",
		"HostKeyAlgorithms": "-o HostKeyAlgorithms=sk-ssh-ed25519@openssh.com",
	} {
		err := newSite(t).login(host(server, "ansible_user: %s, ansible_ssh_extra_args: %q", server.User, args), "h")
		wants(t, err, remote.ErrConfig, option, "")
	}
}

func TestCase14ACertificateSignedWithSHA1(t *testing.T) {
	t.Parallel()
	for algorithm, want := range map[string]error{"ssh-rsa": remote.ErrHostKeyUnknown, "rsa-sha2-512": nil} {
		dir := remotetest.SharedDir(t)
		ca, key := filepath.Join(dir, "ca"), filepath.Join(dir, "key")
		remotetest.KeyGen(t, ca, "rsa")
		remotetest.KeyGen(t, key, "ed25519")
		sign := exec.Command("ssh-keygen", "-q", "-s", ca, "-t", algorithm, "-I", "web1", "-h", "-n", "web1.example.com", key+".pub")
		if out, err := sign.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		server := remotetest.StartSSHD(t, "HostKey "+key, "HostCertificate "+key+"-cert.pub", "CASignatureAlgorithms +ssh-rsa")
		pub, err := os.ReadFile(ca + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(server.Known, append([]byte("@cert-authority *.example.com "), pub...), 0o644); err != nil {
			t.Fatal(err)
		}
		err = newSite(t).login(host(server, "ansible_user: %s, ansible_ssh_extra_args: -o HostKeyAlias=web1.example.com", server.User), "h")
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

func TestCase15SystemFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	s := newSite(t)
	const closed = "/proc/self/mem" // not even root reads it from its beginning
	text := host(server, "ansible_user: %s, ansible_ssh_extra_args: -o GlobalKnownHostsFile=%s", server.User, closed)
	text = strings.Replace(text, "-o GlobalKnownHostsFile=none ", "", 1)
	if err := s.login(text, "h"); err != nil {
		t.Error(err)
	}
	if len(s.warned) != 1 || !strings.Contains(s.warned[0], closed) || !strings.Contains(s.warned[0], "passed over") {
		t.Errorf("it was said: %q", s.warned)
	}
	text = strings.ReplaceAll(text, "UserKnownHostsFile="+server.Known, "UserKnownHostsFile="+closed)
	err := newSite(t).login(text, "h") // a user's own file may know another key
	wants(t, err, remote.ErrConfig, closed, "")
}

func TestCase17TokensOfFileNames(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	s := newSite(t)
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", fmt.Sprintf("printf %%s '%s127.0.0.1%d%s' | sha1sum", name, server.Port, server.User)).Output()
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Fields(string(out))[0]
	key, err := os.ReadFile(server.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	s.write("keys/"+hash, string(key), 0o600)
	knownHosts, err := os.ReadFile(server.Known)
	if err != nil {
		t.Fatal(err)
	}
	s.write("known_"+hash, string(knownHosts), 0o600)
	s.write("revoked_"+hash, "# none\n", 0o600)
	for _, ssh := range []string{"", "none"} {
		s.opts.SSH = ssh
		s.opts.SSHConfig = s.write("ssh_config", fmt.Sprintf(`Host web1
    HostName 127.0.0.1
    Port %d
    User %s
    IdentityFile %s/keys/%%C
    IdentitiesOnly yes
    UserKnownHostsFile %[3]s/known_%%C
    RevokedHostKeys %[3]s/revoked_%%C
`, server.Port, server.User, s.dir), 0o600)
		if err := s.login("all:\n  hosts:\n    web1:\n", "web1"); err != nil {
			t.Errorf("ssh %q: %v", ssh, err)
		}
		s.opts.SSHConfig = s.write("ssh_config", "Host web1\n HostName 127.0.0.1\n IdentityFile /keys/%Z\n", 0o600)
		wants(t, s.login("all:\n  hosts:\n    web1:\n", "web1"), remote.ErrConfig, "%Z", "")
	}
}

func TestCase18IniFilesInADirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("inventory/db.ini", "[db]\ndb1\n", 0o600)
	s.write("inventory/web.ini", "[web]\nweb1\n", 0o600)
	inv, err := inventory.Load(t.Context(), []string{filepath.Join(s.dir, "inventory")}, inventory.Options{NoAnsible: true})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("all")
	if err != nil || len(hosts) != 2 || !strings.Contains(fmt.Sprint(inv.Warnings()), "ansible-core 2.19") {
		t.Errorf("%d hosts, %v, %q", len(hosts), err, inv.Warnings())
	}
}

func TestCase21APluginFileNamedConfig(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("inventory/hosts", "web1\n", 0o600)
	s.write("inventory/zzz.config", "plugin: constructed\nstrict: false\nkeyed_groups:\n  - prefix: dc\n    key: datacenter\n", 0o600)
	_, err := inventory.Load(t.Context(), []string{filepath.Join(s.dir, "inventory")}, inventory.Options{NoAnsible: true})
	if err == nil || !strings.Contains(err.Error(), "zzz.config:1:1") || !strings.Contains(err.Error(), "inventory plugin of Ansible") {
		t.Errorf("got %v", err)
	}
}

// sudoRS speaks as sudo-rs 0.2 does; the work is sudo's.
const sudoRS = `#!/bin/sh
n= prompt=authenticate u=root
while [ $# -gt 0 ]; do
  case $1 in
  -n) n=1 ;;
  -S|-k|-H) ;;
  -p) prompt=$2; shift ;;
  -u) u=$2; shift ;;
  --) shift; break ;;
  *) break ;;
  esac
  shift
done
case $(id -un) in *DENIED) echo "sudo: I'm sorry $(id -un). I'm afraid I can't do that" >&2; exit 1 ;; esac
if [ "$n" ]; then
  echo "sudo: interactive authentication is required" >&2
  exit 1
fi
printf '[sudo: %s] Password: ' "$prompt" >&2
IFS= read -r pw
echo >&2
if [ "$pw" != good-pass ]; then
  echo "sudo: Authentication failed, try again." >&2
  printf '[sudo: %s] Password: ' "$prompt" >&2
  IFS= read -r pw
  echo "sudo: Maximum 3 incorrect authentication attempts" >&2
  exit 1
fi
exec /usr/bin/sudo -n -u "$u" -- "$@"
`

func TestCase19WordsOfSudoRS(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	name, denied := user(t, withoutPassword), user(t, withoutPassword)
	exe := filepath.Join(server.Dir, "sudo-rs")
	if err := os.WriteFile(exe, []byte(strings.ReplaceAll(sudoRS, "*DENIED", denied)), 0o755); err != nil {
		t.Fatal(err)
	}
	vars := "ansible_user: %s, ansible_become_exe: " + exe
	_, err := newSite(t).become(host(server, vars, name), "h")
	wants(t, err, remote.ErrBecomeNeedsPass, "interactive authentication is required", "password")
	_, err = newSite(t).become(host(server, vars+", ansible_become_password: wrong", name), "h")
	wants(t, err, remote.ErrBecomePassword, "", "check the password")
	who, err := newSite(t).become(host(server, vars+", ansible_become_password: good-pass", name), "h")
	wantsRoot(t, who, err)
	for _, more := range []string{"", ", ansible_become_password: good-pass"} {
		_, err = newSite(t).become(host(server, vars+more, denied), "h")
		wants(t, err, remote.ErrBecomeNotAllowed, "I'm afraid I can't do that", "sudoers")
	}
}

func TestCase20AKeyFileThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	s := newSite(t)
	open := s.write("open", "x", 0o644)
	if key, err := os.ReadFile(server.KeyFile); err == nil {
		open = s.write("open", string(key), 0o644)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	typo := filepath.Join(s.dir, "id_typo")
	for path, why := range map[string]string{typo: "no such file", open: "open to others", s.write("text", "hello", 0o600): "cannot be used"} {
		s.warned = nil
		err := s.login(host(server, "ansible_user: %s, ansible_ssh_private_key_file: %s", server.User, path), "h")
		wants(t, err, remote.ErrAuth, path+": ", "mend")
		if len(s.warned) != 1 || !strings.Contains(s.warned[0], path) || !strings.Contains(s.warned[0], why) ||
			!strings.Contains(s.warned[0], "inventory.yml:8") {
			t.Errorf("it was said: %q", s.warned)
		}
	}
	// So is one of ssh_config.
	s.warned = nil
	config := s.write("ssh_config", "Host other\n Port 1\nHost *\n  IdentityFile \""+typo+"\"\n", 0o600)
	named := host(server, "ansible_user: %s, ansible_ssh_private_key_file: %s, ansible_ssh_extra_args: -F %s", server.User, server.KeyFile, config)
	if err := s.login(named, "h"); err != nil {
		t.Error(err)
	}
	if len(s.warned) != 1 || !strings.Contains(s.warned[0], typo) || !strings.Contains(s.warned[0], config+":4, IdentityFile") {
		t.Errorf("it was said: %q", s.warned)
	}
	// Others are tried.
	text := host(server, "ansible_user: %s, ansible_ssh_private_key_file: %s, ansible_ssh_extra_args: -i %s", server.User, typo, server.KeyFile)
	if err := s.login(text, "h"); err != nil {
		t.Error(err)
	}
}

// talker is a server that says something and hangs up; from the call after the last on it is another one.
func talker(t *testing.T, text string, last int, other *remotetest.SSHD) (port int, calls func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	n := 0
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			n++
			over := n > last
			mu.Unlock()
			wg.Go(func() {
				if over {
					join(c, other)
					return
				}
				_, _ = c.Write([]byte(text))
				if tcp, ok := c.(*net.TCPConn); ok {
					_ = tcp.CloseWrite()
				}
				_, _ = c.Read(make([]byte, 4096)) // else what it has not read takes the text with it
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	addr, _ := l.Addr().(*net.TCPAddr)
	return addr.Port, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// join makes a connection one to a server.
func join(c net.Conn, server *remotetest.SSHD) {
	s, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", server.Port))
	if err == nil {
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = io.Copy(s, c)
			_ = s.Close()
		})
		_, _ = io.Copy(c, s)
		_ = c.Close()
		wg.Wait()
	}
	_ = c.Close()
}

const never = 1 << 30

func talkerHost(port int, more string) string {
	return fmt.Sprintf("all:\n  hosts:\n    h: {ansible_host: 127.0.0.1, ansible_port: %d, ansible_ssh_common_args: -F none -o IdentityAgent=none%s}\n", port, more)
}

// TestCase22PenaltiesAreWaitedFor has a sshd that holds something against this machine for a while.
func TestCase22PenaltiesAreWaitedFor(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	port, calls := talker(t, "Not allowed at this time\r\n", 3, server)
	key, err := os.ReadFile(filepath.Join(server.Dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.opts.PenaltyPause = time.Millisecond
	text := talkerHost(port, fmt.Sprintf(" -o UserKnownHostsFile=%s, ansible_user: %s, ansible_ssh_private_key_file: %s",
		s.write("known", fmt.Sprintf("[127.0.0.1]:%d %s", port, key), 0o600), server.User, server.KeyFile))
	if err := s.login(text, "h"); err != nil || calls() != 4 {
		t.Errorf("%d calls: %v", calls(), err)
	}
	port, calls = talker(t, "Not allowed at this time\r\n", never, nil)
	s.opts.PenaltyPause = time.Hour
	s.opts.Retries = 3
	s.limit = time.Minute
	err = s.login(talkerHost(port, ""), "h") // its time would be over before the penalty is
	wants(t, err, remote.ErrUnreachable, "Not allowed at this time", "PerSourcePenalties")
	if calls() != 1 {
		t.Errorf("%d calls", calls())
	}
}

func TestCase22WordsBeforeTheVersion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, say, hint string
		kind            error
		calls           int
	}{
		{"Not allowed at this time\r\n", "Not allowed at this time", "PerSourcePenalties", remote.ErrUnreachable, 9},
		{"Exceeded MaxStartups\r\n", "Exceeded MaxStartups", "fewer hosts", remote.ErrDisconnected, 2},
		{"", "before authentication", "MaxStartups", remote.ErrDisconnected, 2},
		{"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400 Bad Request", "is this the SSH port?", remote.ErrUnreachable, 1},
		{"220 mail.example.com ESMTP\r\n", "220 mail.example.com ESMTP", "is this the SSH port?", remote.ErrUnreachable, 1},
		{"go away\r\n", "go away", "", remote.ErrDisconnected, 2},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			port, calls := talker(t, tt.text, never, nil)
			s := newSite(t)
			s.opts.Retries, s.opts.PenaltyPause = 1, time.Millisecond
			err := s.login(talkerHost(port, ""), "h")
			wants(t, err, tt.kind, tt.say, tt.hint)
			if !strings.Contains(fmt.Sprint(err), fmt.Sprintf("127.0.0.1:%d", port)) || calls() != tt.calls {
				t.Errorf("%d calls: %v", calls(), err)
			}
		})
	}
}

func TestCase23HintsHaveThePort(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	s := newSite(t)
	text := host(server, "ansible_user: %s", server.User)
	empty := s.write("empty", "", 0o600)
	err := s.login(strings.ReplaceAll(text, server.Known, empty), "h")
	wants(t, err, remote.ErrHostKeyUnknown, fmt.Sprint(server.Port), fmt.Sprintf("ssh-keyscan -H -p %d 127.0.0.1 >> %s", server.Port, empty))
	line := known(t, server, "ed25519")
	err = s.login(text, "h")
	remove := fmt.Sprintf("ssh-keygen -R '[127.0.0.1]:%d' -f %s", server.Port, server.Known)
	wants(t, err, remote.ErrHostKeyChanged, "", remove)
	if out, err := exec.Command("sh", "-c", remove).CombinedOutput(); err != nil { // what it says is to be done works
		t.Errorf("%v: %s", err, out)
	}
	if data, err := os.ReadFile(server.Known); err != nil || strings.Contains(string(data), line) {
		t.Errorf("it is still there: %s, %v", data, err)
	}
}
