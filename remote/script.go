package remote

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// loginCommand is the only thing that a host's login shell ever runs: one line that sh, dash, bash, busybox ash, ksh,
// zsh, fish, csh and tcsh read alike. Everything else reaches /bin/sh over stdin, so that nothing stands in argv.
//
// On a terminal a shell takes itself for interactive; +m keeps it from giving its children process groups of their own,
// which could not read from the terminal then.
func loginCommand(terminal bool) string {
	if terminal {
		return "exec /bin/sh +m"
	}
	return "exec /bin/sh"
}

// Words that a script says to us, each after the marker, which no noise can guess.
const (
	wordBegun  = "BEGUN"  // the login shell runs what it is given
	wordAsks   = "ASKS"   // on stderr: the become method runs, and may ask for a password
	wordBecame = "BECAME" // the other user's shell waits for its script
	wordReady  = "READY"  // from here on, stdin and stdout belong to the script
	wordNeed   = "NEED"   // the setup waits for its data
	wordFail   = "FAIL"   // the setup failed; a word and a text follow
)

// lineGo follows the marker in the line, on stdin, behind which another user's script stands.
const lineGo = "GO"

// newMarker returns an unpredictable marker: it separates what our scripts say from what login shells print.
func newMarker() string { return "@@fleetctl-" + randomHex(16) + "@@" }

// randomHex returns n random bytes in lower-case hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return hex.EncodeToString(b)
}

// surroundings are every script's own: a PATH that has the system's programs, whatever else the host has there (sudo's
// secure_path may be any); and no limit of a file's size, unless it is a hard one.
const surroundings = `PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
ulimit -f unlimited 2>/dev/null || :
`

// wrapper is what runs around every script: it tells that the script runs, passes signals on, notices that the
// connection has gone, and cleans up however the script ends.
type wrapper struct {
	marker string
	watch  string        // shell word: the process whose end is ours
	setup  string        // runs before READY; may read data from descriptor 3; may call fail WORD TEXT
	leaves string        // a command that removes what setup made; for when nobody else is left to do it
	body   string        // a compound command; its stdin is the script's
	stdin  string        // shell word for a redirection; default the session's
	limit  time.Duration // ends the script when the controller cannot; 0: no limit
}

// script writes the wrapper for a POSIX shell that reads it from stdin. It is one function and its call, so that the
// shell has read everything before anything runs: what comes after it on stdin is the script's (dash reads ahead).
//
// The connection's end reaches a host as the end of the session's process (sshd's), not as a signal; so a loop looks
// whether that process is still there, every second. A csh leaves descriptors of the session open, which the loop then
// holds, and sshd waits for them: it must not outlive the script. So it starts before the traps are set (a signal that
// reaches a shell's child before that has reset them is lost), and it ends when the script's shell does.
//
// When the script's shell was killed (SIGKILL, by an administrator or for want of memory) the loop removes what it left.
//
// When a script is stopped its whole process group is, which sshd makes for a session (setsid): SIGTERM, two seconds,
// SIGKILL. A script that ends by itself may leave services behind.
func (w wrapper) script() string {
	seconds := 0
	if w.limit > 0 {
		seconds = int(w.limit/time.Second) + 1
	}
	return strings.NewReplacer(
		"@MARKER@", Quote(w.marker), "@WATCH@", w.watch, "@SETUP@", w.setup, "@BODY@", w.body,
		"@LEAVES@", cmp.Or(w.leaves, ":"), "@STDIN@", cmp.Or(w.stdin, "&3"),
		"@LIMIT@", fmt.Sprint(seconds),
	).Replace(wrapperText)
}

const wrapperText = `fleetctl_main() {
m=@MARKER@ w=@WATCH@ limit=@LIMIT@ dir= child= watch=
` + surroundings + `say() { printf '%s %s\n' "$m" "$*"; }
cleanup() {
  trap '' HUP INT TERM PIPE
  [ -z "$watch" ] || kill "$watch" 2>/dev/null
  [ -z "$dir" ] || rm -rf -- "$dir"
}
fail() { say FAIL "$@"; cleanup; exit 97; }
stop() {
  trap '' HUP INT TERM PIPE
  kill -TERM 0 2>/dev/null
  if [ -n "$child" ]; then
    n=0
    while kill -0 "$child" 2>/dev/null && [ $n -lt 2 ]; do n=$((n+1)); sleep 1; done
    kill -KILL "$child" 2>/dev/null
  fi
  cleanup
  kill -KILL 0
  exit "$1"
}
alive() { kill -0 "$w" 2>/dev/null || [ -d "/proc/$w" ]; }
exec 3<&0
if alive; then
  ( n=0
    while alive && kill -0 $$; do
      sleep 1; n=$((n+1))
      [ "$limit" -eq 0 ] || [ "$n" -lt "$limit" ] || break
    done
    kill -TERM $$ || { @LEAVES@; } ) </dev/null >/dev/null 2>&1 3<&- &
  watch=$!
fi
trap 'stop 129' HUP; trap 'stop 130' INT; trap 'stop 141' PIPE; trap 'stop 143' TERM
@SETUP@
say READY $$; [ -t 2 ] || say READY >&2
@BODY@ <@STDIN@ 3<&- &
child=$!
exec 3<&-
wait "$child"; code=$?
child=
cleanup
exit "$code"
}
fleetctl_main; exit
`
