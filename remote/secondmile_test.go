package remote_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// script writes a program that everybody may run.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	writeFile(t, path, "#!/bin/sh\n"+text)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPromptsOfOnesOwn(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	// A su that speaks Danish, after a message that looks like its question and a line that has ended.
	su := script(t, server.Dir, "su", `echo 'Adgangskode:' >&2
printf 'Indtast Adgangskode nu: ' >&2
IFS= read -r pw
[ "$pw" = good ] || { echo 'su: godkendelsesfejl' >&2; exit 1; }
shift
exec /bin/sh "$@"
`)
	name, _ := remotetest.NewUser(t, remotetest.UserConfig{})
	target := server.Target()
	target.User = name
	for _, tt := range []struct {
		prompt, password string
		want             error
	}{
		{`(?i)adgangskode.*: $`, "good", nil},
		{`(?i)(\w+'s )?(Adgangskode nu|Passwort) ?(:|：) ?$`, "good", nil},
		{`(?i)adgangskode.*: $`, "bad", remote.ErrBecome}, // its words are nobody's
		{`(`, "good", remote.ErrConfig},
	} {
		target.Become = remote.Become{Method: "su", Exe: su, Password: tt.password, Prompt: tt.prompt}
		c := dialTest(t, remote.Options{}, target)
		out, err := c.Run(t.Context(), remote.Cmd{Script: "echo here", Become: true})
		if !errors.Is(err, tt.want) || tt.want == nil && (err != nil || string(out.Stdout) != "here\n") {
			t.Errorf("%s: %q, %v, want %v", tt.prompt, out.Stdout, err, tt.want)
		}
	}
}

// TestPromptsThatPAMMakes has a sudo whose PAM module asks in its own words.
func TestPromptsThatPAMMakes(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	sudo := script(t, server.Dir, "sudo", `case " $* " in *" -n "*) echo 'sudo: a password is required' >&2; exit 1 ;; esac
printf 'LDAP Password for admin: ' >&2
IFS= read -r pw
[ "$pw" = good ] || { echo 'Sorry, try again.' >&2; printf 'LDAP Password for admin: ' >&2; read -r pw; exit 1; }
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
`)
	target := server.Target()
	target.User, _ = remotetest.NewUser(t, remotetest.UserConfig{})
	for password, want := range map[string]error{"good": nil, "bad": remote.ErrBecomePassword, "": remote.ErrBecomeNeedsPass} {
		target.Become = remote.Become{Exe: sudo, Password: password}
		c := dialTest(t, remote.Options{}, target)
		out, err := c.Run(t.Context(), remote.Cmd{Script: "echo here", Become: true})
		if !errors.Is(err, want) || want == nil && (err != nil || string(out.Stdout) != "here\n") {
			t.Errorf("%q: %q, %v, want %v", password, out.Stdout, err, want)
		}
	}
}

// TestNoPasswordWasWrong where none was sent.
func TestNoPasswordWasWrong(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	target := server.Target()
	target.User, _ = remotetest.NewUser(t, remotetest.UserConfig{})
	for _, said := range []string{"su: Authentication failure", "Sorry, try again.", "sudo: 1 incorrect password attempt"} {
		target.Become = remote.Become{
			Method: "su", Password: "any", Exe: script(t, server.Dir, "su", "echo '"+said+"' >&2; exit 1\n"),
		}
		c := dialTest(t, remote.Options{}, target)
		_, err := c.Run(t.Context(), remote.Cmd{Script: "id", Become: true})
		if errors.Is(err, remote.ErrBecomePassword) || !errors.Is(err, remote.ErrBecome) || !strings.Contains(fmt.Sprint(err), said) {
			t.Errorf("%s: %v", said, err)
		}
	}
}

func TestKnownHostsCommand(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	line := strings.TrimSpace(readFile(t, server.Known))
	asked := filepath.Join(server.Dir, "asked")
	good := script(t, server.Dir, "good", "echo \"$*\" >>"+asked+"\necho '"+line+"'\n")
	other := script(t, server.Dir, "other", fmt.Sprintf("echo '[127.0.0.1]:%d %s'\n", server.Port, strings.TrimSpace(authorized(newKey(t).PublicKey()))))
	none := filepath.Join(server.Dir, "none")
	for _, tt := range []struct {
		name, command string
		checking      string
		want          error
	}{
		{"it knows the key", good + " %I %H %t", "", nil},
		{"it knows another key", other, "accept-new", remote.ErrHostKeyChanged},
		{"it knows nothing", "/bin/true", "", remote.ErrHostKeyUnknown},
		{"it fails", "/bin/false", "accept-new", remote.ErrConfig},
		{"it is not there", "/no/such/program", "", remote.ErrConfig},
		{"it has no path", "true", "", remote.ErrConfig},
		{"it talks without end", "/usr/bin/yes", "", remote.ErrConfig},
		{"an unknown token", "/bin/true %Z", "", remote.ErrConfig},
		{"none", "none", "", remote.ErrHostKeyUnknown},
	} {
		for _, ssh := range []string{"", "none"} {
			target := server.Target()
			target.SSHArgs = append(remotetest.Isolated(none), "-o", "KnownHostsCommand="+tt.command)
			err := logIn(t, remote.Options{SSH: ssh, HostKeyChecking: tt.checking}, target)
			if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("%s, ssh %q: got %v, want %v", tt.name, ssh, err, tt.want)
			}
		}
	}
	host := fmt.Sprintf("[127.0.0.1]:%d", server.Port)
	if got := strings.Split(readFile(t, asked), "\n"); len(got) < 2 || got[0] != "ORDER "+host+" NONE" || got[1] != "HOSTNAME "+host+" ssh-ed25519" {
		t.Errorf("it was asked %q", got)
	}
}

func TestHomeIsAnsiblesForItsKeys(t *testing.T) {
	server := remotetest.StartSSHD(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	writeFile(t, filepath.Join(home, "id"), readFile(t, server.KeyFile))
	target := server.Target()
	target.PrivateKeyFile = "~/id"
	if err := logIn(t, remote.Options{}, target); err != nil {
		t.Error(err)
	}
	target.PrivateKeyFile = ""
	target.SSHArgs = append(target.SSHArgs, "-o", "IdentityFile=~/id") // the home of the password database
	if err := logIn(t, remote.Options{}, target); !errors.Is(err, remote.ErrAuth) {
		t.Errorf("got %v", err)
	}
}

// TestAKeyOpenToOthersIsNotUsed also where nobody named it, as OpenSSH does; the agent's is.
func TestAKeyOpenToOthersIsNotUsed(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	open := filepath.Join(t.TempDir(), "id")
	writeFile(t, open, readFile(t, server.KeyFile))
	writeFile(t, open+".pub", readFile(t, server.KeyFile+".pub"))
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	var warned atomic.Int32
	opts := remote.Options{Warn: func(string) { warned.Add(1) }}
	target := server.Target()
	target.PrivateKeyFile = open
	if err := logIn(t, opts, target); !errors.Is(err, remote.ErrAuth) || warned.Load() != 1 {
		t.Errorf("got %v, warned %d times", err, warned.Load())
	}
	inAgent := withAgent(server.Target(), serveAgent(t, keyring(t, 0, server.KeyFile)), "-i", open)
	if err := logIn(t, opts, inAgent); err != nil || warned.Load() != 1 {
		t.Errorf("with the agent's: %v, warned %d times", err, warned.Load())
	}
}

// TestWhatIsToldHoldsNoSecrets looks through all that is said with -vv of a login and a become that need passwords.
func TestWhatIsToldHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t, "PasswordAuthentication yes", "KbdInteractiveAuthentication no")
	target := server.Target()
	target.User, _ = remotetest.NewUser(t, remotetest.UserConfig{Password: "a-secret-word", Sudoers: "USER ALL=(ALL) ALL"})
	target.PrivateKeyFile, target.Password, target.Become.Password = "", "a-secret-word", "a-secret-word"
	var mu sync.Mutex
	var told strings.Builder
	hear := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&told, format+"\n", args...)
	}
	c := dialTest(t, remote.Options{Logf: hear, Debugf: hear, Warn: func(s string) { hear("%s", s) }}, target)
	if out, err := c.Run(t.Context(), remote.Cmd{Script: "id -un", Become: true}); err != nil || string(out.Stdout) != "root\n" {
		t.Errorf("%q, %v", out.Stdout, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{fmt.Sprintf("127.0.0.1:%d as %s", server.Port, target.User), "a password was sent", "become: sudo to root", "algorithms: "} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("%q is not told:\n%s", want, told.String())
		}
	}
	if strings.Contains(told.String(), "a-secret-word") {
		t.Errorf("a password is told:\n%s", told.String())
	}
}
