package remote_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// pamHost is a real sshd on a machine whose su and sudo have these PAM stacks; COUNT in them is a program that counts
// its calls in the file that is returned.
func pamHost(t *testing.T, su, sudo string) (server *remotetest.SSHD, count string) {
	t.Helper()
	remotetest.NeedRoot(t)
	dir := remotetest.SharedDir(t)
	count = filepath.Join(dir, "count")
	script := ""
	for name, stack := range map[string]string{"su": su, "sudo": sudo} {
		if stack == "" {
			continue
		}
		writeFile(t, filepath.Join(dir, name), strings.NewReplacer(
			"COUNT", filepath.Join(dir, "counter"), "TEXT", filepath.Join(dir, "text"),
		).Replace(stack)+"\naccount required pam_permit.so\nsession required pam_permit.so\n")
		script += "mount --bind " + filepath.Join(dir, name) + " /etc/pam.d/" + name + "\n"
	}
	writeFile(t, filepath.Join(dir, "text"), "Password: that of your account, please. Password: \n")
	writeFile(t, filepath.Join(dir, "counter"), "#!/bin/sh\necho x >>"+count+"\n")
	if err := os.Chmod(filepath.Join(dir, "counter"), 0o755); err != nil {
		t.Fatal(err)
	}
	return remotetest.StartSSHDInNamespace(t, script), count
}

// loginWithStart is a user of bash whose start file holds those lines.
func loginWithStart(t *testing.T, server *remotetest.SSHD, cfg remotetest.UserConfig, start string) remote.Target {
	t.Helper()
	cfg.Shell = "/bin/bash"
	target := server.Target()
	name, home := remotetest.NewUser(t, cfg)
	target.User = name
	writeFile(t, filepath.Join(home, ".bashrc"), start)
	return target
}

// A password is for the program that asks for it. Whatever looks like a question, no shell of the host runs it as a
// command: the passwords here are commands that would leave a file.
func TestNoShellOfTheHostRunsThePassword(t *testing.T) {
	t.Parallel()
	const unix = "auth required pam_unix.so"
	shell := filepath.Join(remotetest.SharedDir(t), "shell")
	writeFile(t, shell, "#!/bin/sh\nprintf 'Password: ' >&2\nsleep 1\nexec /bin/sh \"$@\"\n")
	if err := os.Chmod(shell, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, su, start string
		become          remote.Become
		shell           string // of the user to become
		sudoers         string
	}{
		{name: "a su that tells of passwords and asks for none", su: "auth optional pam_echo.so file=TEXT\nauth sufficient pam_permit.so",
			become: remote.Become{Method: "su"}},
		{name: "a shell of the user to become that asks and does not read", su: "auth sufficient pam_permit.so",
			become: remote.Become{Method: "su"}, shell: shell},
		{name: "a start file that asks and does not read", su: unix, start: "printf 'Password: ' >&2\n",
			become: remote.Become{Method: "su"}},
		{name: "a message before the question", su: "auth optional pam_echo.so file=TEXT\n" + unix, become: remote.Become{Method: "su"}},
		{name: "a start file that tells of new passwords", su: unix, start: "echo 'Password: change your password, new password: ' >&2\n",
			become: remote.Become{Method: "su"}},
		{name: "sudo, with a start file that tells of new passwords", start: "echo 'Reminder: change your password every 90 days.' >&2\n",
			sudoers: "USER ALL=(ALL) ALL"},
		{name: "sudo, with a lecture on new passwords", sudoers: "Defaults:USER lecture=always, lecture_file=TEXT\nUSER ALL=(ALL) ALL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, _ := pamHost(t, tt.su, "")
			pwned := filepath.Join(remotetest.SharedDir(t), "pwned")
			if err := os.Chmod(filepath.Dir(pwned), 0o777); err != nil {
				t.Fatal(err)
			}
			password := "touch " + pwned
			lecture := filepath.Join(server.Dir, "lecture")
			writeFile(t, lecture, "Change your password every 90 days. New password: soon.\n")
			cfg := remotetest.UserConfig{Password: password, Sudoers: strings.ReplaceAll(tt.sudoers, "TEXT", lecture)}
			target := loginWithStart(t, server, cfg, tt.start)
			target.Become = tt.become
			who := "root"
			if tt.become.Method == "su" {
				who, _ = remotetest.NewUser(t, remotetest.UserConfig{Password: password, Shell: tt.shell})
				target.Become.User = who
			}
			target.Become.Password = password
			checkBecome(t, target, nil, who, "")
			time.Sleep(100 * time.Millisecond)
			if _, err := os.Stat(pwned); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the password was run as a command: %v", err)
			}
		})
	}
}

// A wrong password is sent once: hosts lock accounts after a few. sudo begins another authentication by itself before it
// can be told to stop (PAM sees two, sudo counts the one that had a password).
func TestAWrongPasswordIsOneAuthentication(t *testing.T) {
	t.Parallel()
	server, count := pamHost(t, "auth [success=2 default=ignore] pam_unix.so\nauth optional pam_exec.so seteuid quiet COUNT\n"+
		"auth requisite pam_deny.so\nauth required pam_permit.so", "")
	for _, method := range []string{"su", "sudo"} {
		t.Run(method, func(t *testing.T) {
			target := loginAs(t, server, remotetest.UserConfig{
				Sudoers: "Defaults:USER logfile=" + count + ".sudo, loglinelen=0\nUSER ALL=(ALL) ALL", Password: goodPassword,
			})
			target.Become = remote.Become{Method: method, Password: badPassword}
			if method == "su" {
				target.Become.User, _ = remotetest.NewUser(t, remotetest.UserConfig{Password: goodPassword})
			}
			checkBecome(t, target, remote.ErrBecomePassword, "", "")
			want, file := "x\n", count
			if method == "sudo" {
				want, file = " : 1 incorrect password attempt ;", count+".sudo"
			}
			eventually(func() bool {
				data, _ := os.ReadFile(file)
				return strings.Contains(string(data), want)
			})
			time.Sleep(time.Second) // for more, if more come
			if got := readFile(t, file); strings.Count(got, want) != 1 || strings.Count(got, "incorrect")+strings.Count(got, "x\n") != 1 {
				t.Errorf("the host counted %q", got)
			}
		})
	}
}

// What is said before the method runs does not explain why it failed.
func TestAStartFileDoesNotExplainAFailedBecome(t *testing.T) {
	t.Parallel()
	server, _ := pamHost(t, "auth required pam_deny.so", "")
	for _, said := range []string{"not in the sudoers file", "a password is required", "Password: "} {
		target := loginWithStart(t, server, remotetest.UserConfig{}, fmt.Sprintf("printf '%%s' %q >&2\n", said))
		target.Become = remote.Become{Method: "su", User: "root", Password: goodPassword}
		checkBecome(t, target, remote.ErrBecome, "", "Authentication failure") // no password was sent, so that none was wrong
	}
}
