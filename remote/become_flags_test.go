package remote

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestFlagsOfBecomeAreAnsibles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		become Become
		flags  string
		quiet  bool
	}{
		{Become{}, "-H", false},
		{Become{Flags: "-H -S -n"}, "-H -S", true},
		{Become{Flags: "-HSn"}, "-HS", true},
		{Become{Flags: "-n"}, "", true},
		{Become{Flags: "-nE --non-interactive"}, "-E", true},
		{Become{Flags: "-u n -p -n -g'n' -C 3"}, "-u n -p -n -g'n' -C 3", false},
		{Become{Flags: "-Hun"}, "-Hun", false}, // the user n
		{Become{Flags: "--preserve-env=n --chdir '/a -n b'"}, "--preserve-env=n --chdir '/a -n b'", false},
		{Become{Method: "doas", Flags: "-n -C /etc/n"}, "-C /etc/n", true},
		{Become{Method: "su", Flags: "- -n"}, "- -n", false},
	} {
		f, err := tt.become.flags()
		if err != nil || f.text != tt.flags || f.quiet != tt.quiet {
			t.Errorf("%+v: %+v, %v", tt.become, f, err)
		}
	}
}

func TestACommandThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, exe := range []string{"", " ", "A=1", "sudo 'su", `sudo "su`, "sudo; su", "sudo | su", "sudo && su", "sudo `su`", "$(sudo)", "sudo\nsu", `sudo \`} {
		if _, err := programOf(exe); err == nil {
			t.Errorf("%q is taken", exe)
		}
	}
	for exe, want := range map[string]string{
		"sudo": "sudo", "sudo su -": "sudo", " /usr/bin/env  sudo": "/usr/bin/env", "LANG=C sudo": "sudo", `'/a b/sudo' -x`: `'/a b/sudo'`,
		`/a\ b/sudo`: `/a\ b/sudo`, `"$HOME"/sudo`: `"$HOME"/sudo`,
	} {
		if got, err := programOf(exe); err != nil || got != want {
			t.Errorf("%q: %q, %v", exe, got, err)
		}
	}
}

// FuzzShellWords holds the words against a shell's own.
func FuzzShellWords(f *testing.F) {
	for _, s := range []string{"a b", `a\ b "c d" 'e f'`, `"a\"b"`, "'", `\`, "a'b'c", `""`, "\t a\tb ", `'a\' b`, `"a'b" c`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words, err := shellWords(s)
		if err != nil || strings.ContainsAny(s, "$*?[]~{}!\r\v\f") {
			return
		}
		out, err := exec.Command("/bin/sh", "-c", "printf '<%s>' "+s+" .").Output()
		whole, err2 := exec.Command("/bin/sh", "-c", "printf '<%s>' "+strings.Join(slices.Concat(words, []string{"."}), " ")).Output()
		if n := strings.Count(string(out), "<") - strings.Count(s, "<"); err == nil && (err2 != nil || string(out) != string(whole) || n != len(words)+1) {
			t.Errorf("%q: %d words %q of %d: %s", s, len(words), words, n-1, fmt.Sprint(err2))
		}
	})
}
