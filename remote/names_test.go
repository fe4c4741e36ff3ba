package remote_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// attacks are names that a shell, or a program's options, would take for more than names. @ is a file that they make.
func attacks() []string {
	return []string{
		"$(>@)", "`>@`", ";>@", "h;>@", "h|tee @", "h&>@", "h>@", "h\n>@", "h\r>@", "h >@", "h\t>@", "'$(>@)'", `"$(>@)"`, `h\`,
		"-oProxyCommand=>@", "-x", "h(x)", "h{a,b}", "h\x00x", "h\x1b[2J", "h\x7f", "a,b", "", "h/../x",
	}
}

// TestNamesRunNothing gives names of the inventory to commands that are run for a host. Each comes after a good host of the
// same class, for which ssh -G was asked.
func TestNamesRunNothing(t *testing.T) {
	t.Parallel()
	for i, attack := range attacks() {
		t.Run(fmt.Sprintf("%q", attack), func(t *testing.T) {
			t.Parallel()
			for place, ask := range map[string]func(*remote.Target, string){
				"host": func(t *remote.Target, name string) { t.Host = name },
				"user": func(t *remote.Target, name string) { t.User = name },
				"user of the arguments": func(t *remote.Target, name string) {
					t.User, t.SSHArgs = "", append([]string{"-l", name}, t.SSHArgs...)
				},
				"jump host": func(t *remote.Target, name string) { t.SSHArgs = append([]string{"-J", name}, t.SSHArgs...) },
				"user of a jump host": func(t *remote.Target, name string) {
					t.SSHArgs = append([]string{"-J", name + "@127.0.0.1:1"}, t.SSHArgs...)
				},
			} {
				if place != "host" && harmlessAsUser(attack) || strings.HasPrefix(place, "jump") && attack == "a,b" ||
					strings.Contains(place, "jump") && (attack == "" || strings.Contains(attack, "/")) {
					continue
				}
				namesRunNothing(t, fmt.Sprintf("%d %s", i, place), attack, ask)
			}
		})
	}
}

// harmlessAsUser are names that OpenSSH lets a user have.
func harmlessAsUser(name string) bool {
	return name == "" || name == "a,b" || name == "h/../x"
}

func namesRunNothing(t *testing.T, name, attack string, ask func(*remote.Target, string)) {
	t.Helper()
	dir := t.TempDir()
	made, cfg := filepath.Join(dir, "made"), filepath.Join(dir, "config")
	writeFile(t, cfg, "Host *\n UserKnownHostsFile none\n GlobalKnownHostsFile none\n IdentityAgent none\n"+
		"Match exec \"true %r\"\n ServerAliveInterval 7\nHost *\n ProxyCommand true %h %n %r\n")
	good := remote.Target{Name: "good", Host: "good", User: "u", SSHArgs: []string{"-F", cfg}}
	d := newDialer(t, remote.Options{Retries: -1})
	if _, err := d.Dial(t.Context(), good); errors.Is(err, remote.ErrConfig) {
		t.Fatalf("%s: a good host: %v", name, err)
	}
	bad := good
	bad.Name = "bad"
	bad.SSHArgs = append([]string{}, good.SSHArgs...)
	ask(&bad, strings.ReplaceAll(attack, "@", made))
	_, err := d.Dial(t.Context(), bad)
	if _, statErr := os.Stat(made); statErr == nil {
		t.Errorf("%s: the name was run", name)
	}
	if !errors.Is(err, remote.ErrConfig) {
		t.Errorf("%s: got %v, want %v", name, err, remote.ErrConfig)
	}
}

// TestNamesOfEveryKindOfHostAreServed keeps the rules from refusing what people have.
func TestNamesOfEveryKindOfHostAreServed(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	for _, host := range []string{"web-1.example", "10.0.0.1", "2001:db8::1", "fe80::1%eth0", "under_score", "münchen.example", "i-0abc:def", "a@b", "h=1", "h#1"} {
		for _, user := range []string{"", "admin", `DOMAIN\admin`, "first last", "u@corp.example", "a$b", "ü"} {
			target := server.Target()
			target.Host, target.User, target.Port = host, user, 0
			target.SSHArgs = append(target.SSHArgs, "-o", "ProxyCommand=true")
			_, err := newDialer(t, remote.Options{Retries: -1}).Dial(t.Context(), target)
			if err == nil || errors.Is(err, remote.ErrConfig) {
				t.Errorf("%q@%q: %v", user, host, err)
			}
		}
	}
}
