package remote

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// request asks for the login command; on a terminal in raw mode where become cannot do without one.
func (c *Conn) request(session *ssh.Session, terminal bool) error {
	if terminal {
		raw := ssh.TerminalModes{
			ssh.ECHO: 0, ssh.ICANON: 0, ssh.ISIG: 0, ssh.IEXTEN: 0, ssh.OPOST: 0, ssh.ICRNL: 0, ssh.IXON: 0,
		}
		if err := session.RequestPty("dumb", 24, 200, raw); err != nil {
			return err
		}
	}
	return session.Start(loginCommand(terminal))
}

// needsTerminal reports whether a become that failed could work on a terminal: doas reads passwords from nothing else.
func (c *Conn) needsTerminal(err error) bool {
	return c.become.Method == "doas" && c.become.Password != "" && errors.Is(err, ErrBecomeNeedsPass)
}

// method returns the become method, the user to become and the program.
func (b Become) method() (method, user, exe string) {
	method, user = cmp.Or(b.Method, "sudo"), cmp.Or(b.User, "root")
	return method, user, cmp.Or(b.Exe, method)
}

// becomeUser makes the session a shell of the other user, waiting for its script, and tells w what to watch.
// It never hangs: without a password nothing that could ask is run; with one, the prompt is a marker of ours (sudo) or
// an unfinished line after a marker, and a second prompt means that the password was wrong. Whatever a prompt was: a
// password that nobody read is thrown away by the other user's shell, which takes nothing for its script before a line
// of ours.
func (p *Process) becomeUser(w *wrapper) error {
	script, err := becomeScript(p.conn.become, p.marker, p.terminal)
	if err != nil {
		return err
	}
	ask := &prompter{
		p: p, prompt: p.marker + "password:", password: p.conn.become.Password,
		named: p.conn.become.Method == "su" || p.terminal,
	}
	p.stderr.watch(ask)
	defer p.stderr.watch(nil)
	if p.terminal {
		p.tap.Store(&listener{marker: p.marker, ask: ask})
		defer p.tap.Store(nil)
	}
	limit := p.conn.opts.AuthTimeout
	timer := time.AfterFunc(limit, func() { p.abort(p.noAnswer(limit)) })
	defer timer.Stop()
	if _, err := io.WriteString(p.Stdin, script); err != nil {
		return err
	}
	word, text, err := p.next()
	switch {
	case err != nil && ask.asked() == 0:
		return err
	case err == nil && word != wordBegun:
		return &Error{Kind: ErrLoginShell, Err: fmt.Errorf("unexpected word %q", Clean(word))}
	case err == nil:
		word, text, err = p.next()
	}
	if err == nil && word == wordAsks { // a terminal shows it
		word, text, err = p.next()
	}
	ask.end()
	if ask.twice() {
		return p.becomeFailure("", true)
	}
	if err != nil {
		return p.endOfBecome(err)
	}
	if word != wordBecame {
		return p.becomeFailure(text, false)
	}
	w.watch = Quote(text)
	p.setPid(text)
	_, err = io.WriteString(p.Stdin, p.marker+lineGo+"\n")
	return err
}

// answerGrace is how long a host gets to show that it is there at all.
const answerGrace = 3 * time.Second

// noAnswer tells a method that is silent from a host that is.
func (p *Process) noAnswer(limit time.Duration) error {
	answered := make(chan error, 1)
	go func() { // ends with the connection at the latest
		_, _, err := p.conn.client.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			return p.conn.lost(err)
		}
		return &Error{Kind: ErrBecome, Err: fmt.Errorf("no answer within %s", limit)}
	case <-time.After(answerGrace):
		return &Error{Kind: ErrTimeout, Err: errors.New("the host no longer answers"), Hint: "see its network and load"}
	}
}

// endOfBecome waits for the last words of a become that ended.
func (p *Process) endOfBecome(err error) error {
	select {
	case <-p.done:
	case <-time.After(closeGrace):
		return err
	case <-p.ctx.Done():
		return err
	}
	if _, statusErr := p.status(); statusErr != nil {
		return err
	}
	return p.becomeFailure("", false)
}

// becomeScript is run by the login user. It stays as the parent, so that the other user's script can see it go.
func becomeScript(b Become, marker string, terminal bool) (string, error) {
	method, user, exe := b.method()
	shell := waitText(marker, terminal)
	var plain, asking string
	switch method {
	case "sudo":
		flags := cmp.Or(b.Flags, "-H")
		tail := fmt.Sprintf(" %s -u %s -- /bin/sh -c %s", flags, Quote(user), withParent(shell))
		plain = Quote(exe) + " -n" + tail
		asking = Quote(exe) + " -S -k -p " + Quote(marker+"password:") + tail
	case "doas":
		tail := fmt.Sprintf(" %s -u %s -- /bin/sh -c %s", b.Flags, Quote(user), withParent(shell))
		plain, asking = Quote(exe)+" -n"+tail, Quote(exe)+tail
		if !terminal { // it would say "Authentication failed"; -n says what is missing
			asking = plain
		}
	case "su": // the command is read by the user's login shell, whichever that is
		asking = fmt.Sprintf("%s %s %s -c %s", Quote(exe), b.Flags, Quote(user), withParent("exec /bin/sh -c "+Quote(shell)))
		plain = asking
	default:
		return "", &Error{
			Kind: ErrBecome, Err: fmt.Errorf("method %q is not known", Clean(method)), Hint: "use sudo, doas or su",
		}
	}
	return strings.NewReplacer(
		"@USER@", Quote(user), "@EXE@", Quote(exe), "@PROBE@", probe(method, exe, user, b.Flags),
		"@PLAIN@", plain, "@ASKING@", asking, "@MARKER@", Quote(marker), "@PASSWORD@", fmt.Sprint(b.Password != ""),
		"@SELF@", "/bin/sh -c "+withParent(shell),
	).Replace(becomeText), nil
}

// waitText is the other user's shell: it says that it is there, throws away what was meant for the method and was not
// read by it, and becomes the shell that reads the script. read takes no byte beyond its line.
func waitText(marker string, terminal bool) string {
	return "echo " + marker + " " + wordBecame + " " + parentMark + "; while IFS= read -r l; do case $l in " +
		marker + lineGo + ") " + loginCommand(terminal) + ";; esac; done"
}

// parentMark stands for the process that becomeText watches from, in what withParent quotes.
const parentMark = "FLEETCTL_PARENT"

// withParent quotes a text for becomeText, which puts the number of its process in.
func withParent(s string) string { return strings.ReplaceAll(Quote(s), parentMark, `'"$p"'`) }

// probe is a command that succeeds when no password is asked for.
func probe(method, exe, user, flags string) string {
	switch method {
	case "sudo":
		return fmt.Sprintf("%s -n %s -u %s -- /bin/sh -c :", Quote(exe), cmp.Or(flags, "-H"), Quote(user))
	case "doas":
		return fmt.Sprintf("%s -n %s -u %s -- /bin/sh -c :", Quote(exe), flags, Quote(user))
	}
	return "false"
}

// becomeText watches the connection as wrapperText does, and for the same reasons in the same order.
const becomeText = `fleetctl_become() {
echo @MARKER@ BEGUN
` + surroundings + `LC_ALL=C LANG=C LANGUAGE=C; export LC_ALL LANG LANGUAGE
p=$$ w=$PPID child= watch=
stop() {
  trap '' HUP INT TERM PIPE
  [ -z "$child" ] || kill "$child" 2>/dev/null
  [ -z "$watch" ] || kill "$watch" 2>/dev/null
  exit "$1"
}
exec 3<&0
if kill -0 "$w" 2>/dev/null; then
  ( while kill -0 "$w" && kill -0 $$; do sleep 1; done
    kill -TERM $$ ) </dev/null >/dev/null 2>&1 3<&- &
  watch=$!
fi
trap 'stop 129' HUP; trap 'stop 130' INT; trap 'stop 141' PIPE; trap 'stop 143' TERM
echo @MARKER@ ASKS >&2
if [ "$(id -un)" = @USER@ ]; then
  @SELF@ <&3 3<&- &
elif ! command -v @EXE@ >/dev/null 2>&1; then
  printf '%s\n' "fleetctl: "@EXE@": not found" >&2
  exit 127
elif [ @PASSWORD@ = false ] || @PROBE@ </dev/null >/dev/null 2>&1 3<&-; then
  @PLAIN@ <&3 3<&- &
else
  @ASKING@ <&3 3<&- &
fi
child=$!
exec 3<&-
wait "$child"; code=$?
[ -z "$watch" ] || kill "$watch" 2>/dev/null
exit "$code"
}
fleetctl_become; exit
`

// becomeFailure tells apart why become failed, from what the program said.
func (p *Process) becomeFailure(text string, wrong bool) error {
	said := p.stderr.text()
	if t := p.tap.Load(); t != nil {
		said = t.text() + said
	}
	said = strings.NewReplacer(p.marker+"password:", "", p.marker+" "+wordBegun, "", p.marker+" "+wordAsks, "").Replace(said)
	if wrong {
		return &Error{Kind: ErrBecomePassword, Hint: "check the password that was given, or ansible_become_password"}
	}
	method, user, exe := p.conn.become.method()
	hint, kind := sortBecome(strings.ToLower(said + text))
	if kind == nil {
		kind = ErrBecome
	}
	if errors.Is(kind, ErrBecomeNeedsPass) && p.conn.become.Password != "" && (method != "doas" || p.terminal) {
		kind = ErrBecomePassword
	}
	if errors.Is(kind, ErrBecomeNeedsPass) && p.conn.withheld {
		hint = "no password is sent to a host whose key has changed: if it was reinstalled, remove its old key"
	}
	if hint == "" {
		hint = fmt.Sprintf("try it by hand on the host: %s, to become %s", exe, Clean(user))
	}
	return &Error{
		Kind: kind, Err: fmt.Errorf("%s: %s", method, cmp.Or(Line(said), "it ended without a word")), Hint: hint,
	}
}

// becomeCauses are what sudo 1.8 to 1.9, doas, su and PAM say, in lower case and in the C locale.
func becomeCauses() []struct {
	text string
	kind error
	hint string
} {
	return []struct {
		text string
		kind error
		hint string
	}{
		{"must have a tty", ErrBecome, "sudoers demands a terminal: remove \"Defaults requiretty\" for this user"},
		{"password expired", ErrBecome, "the password has expired: change it on the host"},
		{"password is expired", ErrBecome, "the password has expired: change it on the host"},
		{"account has expired", ErrBecome, "the account has expired"},
		{"account expired", ErrBecome, "the account or its password has expired"},
		{"account or password is expired", ErrBecome, "the password has expired: change it on the host"},
		{"account validation failure", ErrBecome, "the account is locked or expired"},
		{"new password", ErrBecome, "the password has expired: change it on the host"},
		{"not in the sudoers file", ErrBecomeNotAllowed, "give the user a sudoers rule"},
		{"is not allowed to", ErrBecomeNotAllowed, "give the user a sudoers rule for this target user"},
		{"may not run sudo", ErrBecomeNotAllowed, "give the user a sudoers rule"},
		{"operation not permitted", ErrBecomeNotAllowed, "give the user a rule in doas.conf"},
		{"permission denied", ErrBecomeNotAllowed, ""},
		{"incorrect password", ErrBecomePassword, ""},
		{"sorry, try again", ErrBecomePassword, ""},
		{"authentication failure", ErrBecomePassword, ""},
		{"authentication failed", ErrBecomePassword, ""},
		{"a password is required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"no password was provided", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"a terminal is required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"authorization required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"authentication required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"a tty is required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"must be run from a terminal", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"password:", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"not found", ErrBecome, "the become method is not installed on the host: set ansible_become_method"},
		{"no new privileges", ErrBecome, "the session may not gain privileges"},
		{"effective uid is not 0", ErrBecome, "sudo is not setuid root, or its file system is nosuid"},
		{"unknown user", ErrBecome, "the user to become is not there: see become_user"},
		{"does not exist", ErrBecome, "the user to become is not there: see become_user"},
	}
}

func sortBecome(said string) (hint string, kind error) {
	for _, c := range becomeCauses() {
		if strings.Contains(said, c.text) {
			return c.hint, c.kind
		}
	}
	return "", nil
}
