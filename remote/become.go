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

// needsTerminal reports whether a become that failed could work on a terminal: doas reads passwords from nothing else, and
// neither does a sudo that was not told to (become_exe: sudo su -). A password that was sent was read.
func (c *Conn) needsTerminal(err error) bool {
	return c.become.Password != "" && errors.Is(err, ErrBecomeNeedsPass)
}

// method returns the become method, the user to become and the command, as the shell reads it.
func (b Become) method() (method, user, exe string) {
	method, user = cmp.Or(b.Method, methodSudo), cmp.Or(b.User, "root")
	return method, user, cmp.Or(b.Exe, method)
}

// The become methods.
const (
	methodSudo = "sudo"
	methodDoas = "doas"
	methodSu   = "su"
)

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
	question, err := p.conn.become.question()
	if err != nil {
		return err
	}
	ask := &prompter{p: p, prompt: p.marker + "password:", question: question, password: p.conn.become.Password}
	p.stderr.watch(ask)
	defer p.stderr.watch(nil)
	if p.terminal {
		p.tap.Store(&listener{marker: p.marker, ask: ask})
		defer p.tap.Store(nil)
	}
	limit := p.conn.authLimit
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
	var cause *Error
	switch {
	case ask.twice():
		return p.becomeFailure(text, ask)
	case errors.As(err, &cause): // we ended it
		return err
	case err != nil:
		return p.endOfBecome(err, ask)
	case word != wordBecame:
		return p.becomeFailure(text, ask)
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
		return p.silentMethod(limit)
	case <-time.After(answerGrace):
		return &Error{Kind: ErrTimeout, Err: errors.New("the host no longer answers"), Hint: "see its network and load"}
	}
}

// silentMethod says what a method that did not end waits behind, which may be a question that we do not know for one.
func (p *Process) silentMethod(limit time.Duration) error {
	method, _, _ := p.conn.become.method()
	e := &Error{
		Kind: ErrBecome, Err: fmt.Errorf("%s: no answer within %s", method, limit),
		Hint: "where it takes that long (LDAP, a push to a phone), give it more time: ansible_timeout",
	}
	line := p.stderr.unfinished()
	if t := p.tap.Load(); t != nil {
		line = t.unfinished()
	}
	if line = p.unmarked(line); line != "" {
		e.Err = fmt.Errorf("%w; it waits behind %q", e.Err, Line(line))
	}
	return e
}

// unmarked takes our own words out of what was said.
func (p *Process) unmarked(said string) string {
	return strings.NewReplacer(
		p.marker+"password:", "", p.marker+" "+wordBegun, "", p.marker+" "+wordAsks, "", p.marker, "",
	).Replace(said)
}

// endOfBecome waits for the last words of a become that ended.
func (p *Process) endOfBecome(err error, ask *prompter) error {
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
	return p.becomeFailure("", ask)
}

// becomeScript is run by the login user. It stays as the parent, so that the other user's script can see it go.
func becomeScript(b Become, marker string, terminal bool) (string, error) {
	method, user, exe := b.method()
	program, err := programOf(exe)
	if err != nil {
		return "", &Error{Kind: ErrConfig, Err: fmt.Errorf("become_exe %q: %w", Clean(exe), err)}
	}
	flags, err := b.flags()
	if err != nil {
		return "", &Error{Kind: ErrConfig, Err: fmt.Errorf("become_flags %q: %w", Clean(b.Flags), err)}
	}
	shell := waitText(marker, terminal)
	var plain, asking, probe string
	switch method {
	case methodSudo:
		tail := fmt.Sprintf(" %s -u %s -- /bin/sh -c %s", flags.text, Quote(user), withParent(shell))
		probe = fmt.Sprintf("%s -n %s -u %s -- /bin/sh -c :", exe, flags.text, Quote(user))
		plain = exe + flags.silent(" -n", " -p "+Quote(marker+"password:")) + tail
		asking = exe + " -S -k -p " + Quote(marker+"password:") + tail
		if terminal {
			asking = exe + " -k -p " + Quote(marker+"password:") + tail
		}
	case methodDoas:
		tail := fmt.Sprintf(" %s -u %s -- /bin/sh -c %s", flags.text, Quote(user), withParent(shell))
		probe = fmt.Sprintf("%s -n %s -u %s -- /bin/sh -c :", exe, flags.text, Quote(user))
		plain, asking = exe+" -n"+tail, exe+tail
		if !terminal { // it would say "Authentication failed"; -n says what is missing
			asking = plain
		}
	case methodSu: // the command is read by the user's login shell, whichever that is
		asking = fmt.Sprintf("%s %s %s -c %s", exe, flags.text, Quote(user), withParent("exec /bin/sh -c "+Quote(shell)))
		plain, probe = asking, "false"
	default:
		return "", &Error{
			Kind: ErrBecome, Err: fmt.Errorf("method %q is not known", Clean(method)), Hint: "use sudo, doas or su",
		}
	}
	return strings.NewReplacer(
		"@USER@", Quote(user), "@PROGRAM@", program, "@PROBE@", probe,
		"@PLAIN@", plain, "@ASKING@", asking, "@MARKER@", Quote(marker), "@PASSWORD@", fmt.Sprint(b.Password != ""),
		"@SELF@", "/bin/sh -c "+withParent(shell),
	).Replace(becomeText), nil
}

// programOf is the word of a command that names its program, as the shell reads it: sudo of "LANG=C sudo su -".
func programOf(exe string) (string, error) {
	words, err := shellWords(exe)
	if err != nil {
		return "", err
	}
	for _, w := range words {
		if !strings.Contains(w, "=") {
			return w, nil
		}
	}
	return "", errors.New("it names no program")
}

// becomeFlags are the flags of a method.
type becomeFlags struct {
	text  string // without -n
	given bool   // somebody chose them
	quiet bool   // -n was among them
}

// flags are Ansible's: -n says that nothing is asked, so that it goes where there is a password to answer with.
func (b Become) flags() (becomeFlags, error) {
	method, _, _ := b.method()
	if b.Flags == "" && method == methodSudo {
		return becomeFlags{text: "-H"}, nil
	}
	valued := map[string]string{methodSudo: "CDghprRTtUu", methodDoas: "aCu"}[method]
	words, err := shellWords(b.Flags)
	if err != nil || valued == "" {
		return becomeFlags{text: b.Flags, given: b.Flags != ""}, err
	}
	f := becomeFlags{given: b.Flags != ""}
	kept := words[:0]
	value := false // the word is that of the flag before it
	for _, w := range words {
		var quiet bool
		if !value {
			w, quiet, value = withoutQuiet(w, valued)
			f.quiet = f.quiet || quiet
		} else {
			value = false
		}
		if w != "" {
			kept = append(kept, w)
		}
	}
	f.text = strings.Join(kept, " ")
	return f, nil
}

// withoutQuiet takes -n out of a word of flags; it may stand among others (-HSn). value says that the next word belongs
// to this one.
func withoutQuiet(w, valued string) (rest string, quiet, value bool) {
	switch {
	case w == "--non-interactive":
		return "", true, false
	case len(w) < 2 || w[0] != '-' || w[1] == '-':
		return w, false, false
	}
	for i := 1; i < len(w); i++ {
		switch {
		case strings.IndexByte(valued, w[i]) >= 0:
			return w, quiet, i == len(w)-1
		case w[i] == 'n':
			w, quiet = w[:i]+w[i+1:], true
			i--
		}
	}
	if w == "-" {
		w = ""
	}
	return w, quiet, false
}

// silent chooses what a method that nobody answers is told: not to ask; or, where flags were chosen without -n (for PAM
// modules that need no answer), with which prompt.
func (f becomeFlags) silent(quietly, prompting string) string {
	if f.given && !f.quiet {
		return prompting
	}
	return quietly
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
elif ! command -v @PROGRAM@ >/dev/null 2>&1; then
  printf 'fleetctl: %s: not found\n' @PROGRAM@ >&2
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
func (p *Process) becomeFailure(text string, ask *prompter) error {
	said := p.stderr.text()
	if t := p.tap.Load(); t != nil {
		said = t.text() + said
	}
	said = p.unmarked(said)
	p.drain()
	method, user, exe := p.conn.become.method()
	hint, kind := sortBecome(strings.ToLower(said + text + string(p.noise.bytes())))
	hint, kind = sentOrNot(ask, hint, kind)
	if ask.twice() && errors.Is(kind, ErrBecomePassword) {
		return &Error{Kind: ErrBecomePassword, Hint: "check the password that was given, or ansible_become_password"}
	}
	if errors.Is(kind, ErrBecomeNeedsPass) && p.conn.withheld {
		hint = "no password is sent to a host whose key has changed: if it was reinstalled, remove its old key"
	}
	if hint == "" {
		hint = fmt.Sprintf("try it by hand on the host: %s, to become %s", Clean(exe), Clean(user))
	}
	return &Error{
		Kind: kind, Err: fmt.Errorf("%s: %s", method, cmp.Or(p.heard(said), "it ended without a word")), Hint: hint,
	}
}

// sentOrNot holds what a method says of passwords against whether it was given one.
func sentOrNot(ask *prompter, hint string, kind error) (string, error) {
	sent := ask.sent()
	switch {
	case kind == nil && ask.twice():
		return "", ErrBecomePassword
	case kind == nil && ask.asked() > 0 && !sent:
		return "it wants a password, and none was given", ErrBecomeNeedsPass
	case kind == nil:
		return hint, ErrBecome
	case errors.Is(kind, ErrBecomeNeedsPass) && sent:
		return "", ErrBecomePassword
	case errors.Is(kind, ErrBecomePassword) && !sent:
		return "it refused without asking for the password: see what it logged on the host, and its PAM stack", ErrBecome
	}
	return hint, kind
}

// becomeCauses are what sudo 1.8 to 1.9, sudo-rs, doas, su and PAM say, in lower case and in the C locale.
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
		{"i'm afraid i can't do that", ErrBecomeNotAllowed, "give the user a sudoers rule"}, // sudo-rs, also where there is one for others
		{"not in the sudoers file", ErrBecomeNotAllowed, "give the user a sudoers rule"},
		{"is not allowed to", ErrBecomeNotAllowed, "give the user a sudoers rule for this target user"},
		{"may not run ", ErrBecomeNotAllowed, "give the user a sudoers rule"},
		{"operation not permitted", ErrBecomeNotAllowed, "give the user a rule in doas.conf"},
		{"permission denied", ErrBecomeNotAllowed, ""},
		{"incorrect password", ErrBecomePassword, ""},
		{"sorry, try again", ErrBecomePassword, ""},
		{"authentication failure", ErrBecomePassword, ""},
		{"authentication failed", ErrBecomePassword, ""},
		{"incorrect authentication attempt", ErrBecomePassword, ""},
		{"interactive authentication is required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"a password is required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"no password was provided", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"a terminal is required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"authorization required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"authentication required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"a tty is required", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"must be run from a terminal", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"password:", ErrBecomeNeedsPass, "it wants a password, and none was given"},
		{"' not found", ErrBecome, "the user to become is not there: see become_user"}, // sudo-rs: user 'x' not found
		{"not found", ErrBecome, "the become method is not installed on the host: set ansible_become_method"},
		{"account is currently not available", ErrBecome, "the user to become has a login shell that runs nothing"},
		{"no new privileges", ErrBecome, "the session may not gain privileges"},
		{"effective uid is not 0", ErrBecome, "sudo is not setuid root, or its file system is nosuid"},
		{"must be owned by uid 0", ErrBecome, "sudo is not setuid root"},
		{"unknown user", ErrBecome, "the user to become is not there: see become_user"},
		{"does not exist", ErrBecome, "the user to become is not there: see become_user"},
		{"no such file or directory", ErrBecome, "the become method is not installed on the host: set ansible_become_method"},
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
