package enrolltest

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// TestShellDoesWhatShDoes runs what needs no host in both: a shell of our own that was kinder than the real one would
// hide what real hosts refuse.
func TestShellDoesWhatShDoes(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	h := NewHost(t, "web-01", "")
	for _, script := range []string{
		"echo a  'b  c' \"d  e\"", "x='a b'; for w in $x \"$x\"; do echo \"<$w>\"; done", "false || echo yes; true && echo no",
		"set -e\nfalse || :\necho on\nfalse\necho off", "set -e\nif false; then echo 1; else echo 2; fi\n! true\necho on",
		"set -e\nf() { false; echo in; }\nf || echo failed\nf\necho off", "set -e\nx=$(false)\necho off", "set -e\nfalse && echo a\necho b",
		"set -e\n( false; echo in )\necho off", "set -e\nfalse | true\necho on\ntrue | false\necho off",
		"x=$(echo a; echo b; echo); echo \"$x.\" $x", "x=; echo \"${x:-or}\" ${y:-\"a  b\"}.", "p=/a/b.c/d.e; echo ${p##*/} ${p%/*} ${p#*/} ${p%%.*} ${p%.*}",
		"case busy in *usy|x) echo m;; *) echo n;; esac; case 'a*' in 'a*') echo q;; esac; case ab in 'a*') echo q;; esac",
		"case Permission\\ denied in *ermission\\ denied*|*not\\ permitted*) echo denied;; esac",
		"f() { echo \"$1-$2-$#\"; }; f 'a b' c; f \"$@\"", "exit 3", "(exit 4); echo $?", "[ a = b ]; echo $?; [ ! -n '' ] && echo e", "[ 07 -eq 7 ] && echo eq",
		"{ echo one; echo two; } | cut -d' ' -f1", "echo err >&2; echo out", "echo gone 2>/dev/null >/dev/null; echo here",
		"printf '%s\\n' a 'b c'; printf '%s=%s\\n' k v", "if false; then :; elif true; then echo elif; fi; echo $?",
		"echo \"it's \\\"q\\\" \\$x \\\\\" 'x'\\''y' a\\ b # comment", "x=1; ( x=2; echo $x ); echo $x", "a=1 b=$a; echo $b", "x=\"  a b \"; for w in c${x}d; do echo \"<$w>\"; done", "y=; echo \"${y:-a  b}\" ${y:-c  d} ${y:-\"e  f\"}", "f() { echo $#; }; f; f \"\"; f \"$@\"; f \"$@\" a", "x='*'; echo \"$x\"",
		"printf 'a\\nb\\n' | grep -m 1 -E '(^|/)b$' || echo none; printf 'a\\n' | grep -q b || echo none", "x=a\nx=$x$x; echo $x\\\n$x",
		"echo a;\n\n# nothing\n\necho b", "true; echo $?; false; echo $?", "x=\"a\"'b'c; echo $x", "if [ -z \"\" ]; then echo z; fi", "echo ${#}", "f() (exit 5); f; echo $?",
	} {
		var realOut, realErr, out, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), sh)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), &realOut, &realErr
		want := 0
		if err := cmd.Run(); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatal(err)
			}
			want = exit.ExitCode()
		}
		h.mu.Lock()
		code := h.newShell(t.Context(), "root", strings.NewReader(""), &out, &stderr).script(script)
		h.mu.Unlock()
		if code != want || out.String() != realOut.String() || stderr.String() != realErr.String() {
			t.Errorf("%s\ngot  %d %q %q\nwant %d %q %q", script, code, out.String(), stderr.String(), want, realOut.String(), realErr.String())
		}
	}
}
