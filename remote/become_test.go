package remote_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

const (
	goodPassword = "good 'pass\"word $x"
	badPassword  = "bad password"
)

// documentedSudoers is the line that docs/least-rights.md has for the user "scanner".
func documentedSudoers(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/least-rights.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^scanner (ALL=.*)$`).FindSubmatch(page)
	if line == nil {
		t.Fatal("docs/least-rights.md has no line for sudoers")
	}
	return "USER " + string(line[1])
}

func TestBecomeAgainstTheRealPrograms(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	other, _ := remotetest.NewUser(t, remotetest.UserConfig{Password: goodPassword})
	for _, tt := range []struct {
		name   string
		user   remotetest.UserConfig
		become remote.Become
		want   error
		who    string
		say    string
	}{
		{"sudo without a password", remotetest.UserConfig{Sudoers: "USER ALL=(ALL) NOPASSWD: ALL"},
			remote.Become{}, nil, "root", ""},
		{"sudo without a password, though one is given", remotetest.UserConfig{Sudoers: "USER ALL=(ALL) NOPASSWD: ALL"},
			remote.Become{Password: badPassword}, nil, "root", ""},
		{"sudo with the line of docs/least-rights.md", remotetest.UserConfig{Sudoers: documentedSudoers(t)},
			remote.Become{}, nil, "root", ""},
		{"sudo to another user", remotetest.UserConfig{Sudoers: "USER ALL=(ALL) NOPASSWD: ALL"},
			remote.Become{User: other}, nil, other, ""},
		{"sudo with a password", remotetest.UserConfig{Sudoers: "USER ALL=(ALL) ALL", Password: goodPassword},
			remote.Become{Password: goodPassword}, nil, "root", ""},
		{"sudo with a pseudo-terminal of its own", remotetest.UserConfig{
			Sudoers: "Defaults:USER use_pty\nUSER ALL=(ALL) ALL", Password: goodPassword},
			remote.Become{Password: goodPassword}, nil, "root", ""},
		{"sudo with a lecture", remotetest.UserConfig{
			Sudoers: "Defaults:USER lecture=always\nUSER ALL=(ALL) ALL", Password: goodPassword},
			remote.Become{Password: goodPassword}, nil, "root", ""},
		{"sudo with a wrong password", remotetest.UserConfig{Sudoers: "USER ALL=(ALL) ALL", Password: goodPassword},
			remote.Become{Password: badPassword}, remote.ErrBecomePassword, "", ""},
		{"sudo that wants a password which is not given", remotetest.UserConfig{
			Sudoers: "USER ALL=(ALL) ALL", Password: goodPassword},
			remote.Become{}, remote.ErrBecomeNeedsPass, "", ""},
		{"a user whom sudo does not know", remotetest.UserConfig{Password: goodPassword},
			remote.Become{Password: goodPassword}, remote.ErrBecomeNotAllowed, "", ""},
		{"a user who may not become this one", remotetest.UserConfig{
			Sudoers: "USER ALL=(daemon) ALL", Password: goodPassword},
			remote.Become{Password: goodPassword}, remote.ErrBecomeNotAllowed, "", ""},
		{"sudo that wants a terminal", remotetest.UserConfig{
			Sudoers: "Defaults:USER requiretty\nUSER ALL=(ALL) NOPASSWD: ALL"},
			remote.Become{}, remote.ErrBecome, "", "tty"},
		{"sudo with an expired password", remotetest.UserConfig{
			Sudoers: "USER ALL=(ALL) ALL", Password: goodPassword, Expired: true},
			remote.Become{Password: goodPassword}, remote.ErrBecome, "", "expired"},
		{"an unknown target user", remotetest.UserConfig{Sudoers: "USER ALL=(ALL) NOPASSWD: ALL"},
			remote.Become{User: "no-such-user"}, remote.ErrBecome, "", "no-such-user"},
		{"a method that is not installed", remotetest.UserConfig{}, remote.Become{Exe: "/nowhere/sudo"},
			remote.ErrBecome, "", "not found"},
		{"an unknown method", remotetest.UserConfig{}, remote.Become{Method: "runas"}, remote.ErrBecome, "", "runas"},
		{"su with a password", remotetest.UserConfig{},
			remote.Become{Method: "su", User: other, Password: goodPassword}, nil, other, ""},
		{"su with a wrong password", remotetest.UserConfig{},
			remote.Become{Method: "su", User: other, Password: badPassword}, remote.ErrBecomePassword, "", ""},
		{"su without a password", remotetest.UserConfig{},
			remote.Become{Method: "su", User: other}, remote.ErrBecomeNeedsPass, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := loginAs(t, server, tt.user)
			target.Become = tt.become
			checkBecome(t, target, tt.want, tt.who, tt.say)
		})
	}
}

// loginAs makes a user who logs in to the server with its key.
func loginAs(t *testing.T, server *remotetest.SSHD, cfg remotetest.UserConfig) remote.Target {
	t.Helper()
	target := server.Target()
	target.User, _ = remotetest.NewUser(t, cfg)
	return target
}

func checkBecome(t *testing.T, target remote.Target, want error, who, say string) {
	t.Helper()
	c := dialTest(t, remote.Options{}, target)
	out, err := c.Run(t.Context(), remote.Cmd{Script: "id -un; cat; exit 3", Become: true, Stdin: strings.NewReader("x")})
	if want == nil {
		if err != nil || string(out.Stdout) != who+"\nx" || out.ExitCode != 3 {
			t.Errorf("%q, %q, %d, %v", out.Stdout, out.Stderr, out.ExitCode, err)
		}
		return
	}
	if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), say) {
		t.Errorf("got %v, want %v with %q", err, want, say)
	}
	t.Logf("%v", err)
	if err != nil && strings.Contains(err.Error(), target.Become.Password) && target.Become.Password != "" {
		t.Error("the password stands in the error")
	}
}

func TestBecomeByDoas(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	free := loginAs(t, server, remotetest.UserConfig{})
	asked := loginAs(t, server, remotetest.UserConfig{Password: goodPassword})
	nobody := loginAs(t, server, remotetest.UserConfig{Password: goodPassword})
	remotetest.DoasConf(t, fmt.Sprintf("permit nopass %s\npermit %s\n", free.User, asked.User))
	for _, tt := range []struct {
		name     string
		target   remote.Target
		password string
		want     error
	}{
		{"doas without a password", free, "", nil},
		{"doas without a password, though one is given", free, badPassword, nil},
		{"doas with a password", asked, goodPassword, nil},
		{"doas with a wrong password", asked, badPassword, remote.ErrBecomePassword},
		{"doas that wants a password which is not given", asked, "", remote.ErrBecomeNeedsPass},
		{"a user whom doas does not know", nobody, goodPassword, remote.ErrBecomeNotAllowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.target.Become = remote.Become{Method: "doas", Password: tt.password}
			c := dialTest(t, remote.Options{}, tt.target)
			out, err := c.Run(t.Context(), remote.Cmd{Script: "id -un; exit 3", Become: true})
			switch {
			case tt.want != nil && !errors.Is(err, tt.want):
				t.Errorf("got %v, want %v", err, tt.want)
			case tt.want == nil && (err != nil || string(out.Stdout) != "root\n" || out.ExitCode != 3):
				t.Errorf("%q, %q, %d, %v", out.Stdout, out.Stderr, out.ExitCode, err)
			}
		})
	}
}

func TestPayloadAsRoot(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	target := loginAs(t, server, remotetest.UserConfig{Sudoers: "USER ALL=(ALL) ALL", Password: goodPassword})
	target.Become.Password = goodPassword
	c := dialTest(t, remote.Options{}, target)
	p, err := c.StartPayload(t.Context(), payload("#!/bin/sh\nid -un\ncat\n", true))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(p.Stdin, "input")
	_ = p.Stdin.Close()
	out, err := io.ReadAll(p.Stdout)
	if _, _, waitErr := p.Wait(); err != nil || waitErr != nil || string(out) != "root\ninput" {
		t.Errorf("%q, %v, %v", out, err, waitErr)
	}
}
