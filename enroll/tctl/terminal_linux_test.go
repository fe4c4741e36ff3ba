package tctl

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a new terminal: the person's end and the programs' end.
func terminal(t *testing.T) (person, tty *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return person, tty
}

func TestTctlCanAskOnTheTerminal(t *testing.T) {
	t.Parallel()
	person, tty := terminal(t)
	var shown strings.Builder
	tctl := script(t, `
[ -t 0 ] && [ "$(cut -d' ' -f5 /proc/self/stat)" = `+fmt.Sprint(unix.Getpgrp())+` ] || exit 9
printf 'Code: ' >&2; read -r code
[ "$code" = 123 ] || { printf '\033[31mERROR: \033[0madmin-level API request requires MFA verification\n\n' >&2; exit 1; }
echo '[{"kind":"token"}]'`)
	tctl.Stdin, tctl.Stderr = tty, &shown
	for code, wrong := range map[string]bool{"123": false, "321": true} {
		shown.Reset()
		if _, err := io.WriteString(person, code+"\n"); err != nil {
			t.Fatal(err)
		}
		var into any
		err := tctl.Get(t.Context(), "token", "x", &into)
		if (err != nil) != wrong || err != nil && !strings.HasSuffix(err.Error(), mfaWords) || shown.String() != "Code: " {
			t.Errorf("%s: %v; shown: %q", code, err, shown.String())
		}
	}
}
