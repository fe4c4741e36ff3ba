package remotetest

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	anyMarker    = regexp.MustCompile(`@@fleetctl-[0-9a-f]{32}@@`)
	becomeMarker = regexp.MustCompile(`echo (@@fleetctl-[0-9a-f]+@@) BECAME `)
	becomeWho    = regexp.MustCompile(`\[ "\$\(id -un\)" = (\S+) \]`)
	becomeExe    = regexp.MustCompile(`elif ! command -v (\S+) >`)
	becomeAsks   = regexp.MustCompile(`elif \[ (true|false) = false \]`)
)

// sudoTries is passwd_tries of sudoers(5).
const sudoTries = 3

// become answers a become script as sudo does. It returns a code that ends the session, or -1 when the other user's
// shell waits for its script.
func (t *talk) become(text string) int {
	marker, who := becomeMarker.FindStringSubmatch(text), becomeWho.FindStringSubmatch(text)
	exe, asks := becomeExe.FindStringSubmatch(text), becomeAsks.FindStringSubmatch(text)
	if marker == nil || who == nil || exe == nil || asks == nil || exe[1] != "sudo" {
		return t.unknown(t.req, "become script %q", text)
	}
	user, err := unquote(who[1])
	if err != nil {
		return t.unknown(t.req, "become script: %v", err)
	}
	t.marker = marker[1]
	t.say("BEGUN")
	_, _ = fmt.Fprintf(t.req.Stderr, "%s ASKS\n", t.marker)
	if t.req.User != user {
		if code := t.sudo(t.Machine.Sudo(t.req.User), asks[1] == "true"); code >= 0 {
			return code
		}
	}
	t.user = user
	t.say(fmt.Sprintf("BECAME %d", t.pid))
	return t.awaitGo()
}

// awaitGo throws away what comes before the line behind which the script stands, as the other user's shell does.
func (t *talk) awaitGo() int {
	for {
		switch line, err := t.in.ReadString('\n'); {
		case err != nil:
			return 0 // a shell that reads nothing more
		case line == t.marker+"GO\n":
			return -1
		}
	}
}

// sudo asks for a password where sudo would, and says what it says (sudo 1.9, LC_ALL=C).
func (t *talk) sudo(s Sudo, given bool) int {
	switch {
	case s.Missing:
		return t.refuse(exitUnknown, "fleetctl: sudo: not found")
	case s.Denied && !given:
		return t.refuse(1, "sudo: a password is required") // -n: it asks before it looks for a rule
	case s.Denied, s.Password != "" && given:
		return t.password(s)
	case s.Password != "":
		return t.refuse(1, "sudo: a password is required")
	}
	return -1
}

func (t *talk) password(s Sudo) int {
	for range sudoTries {
		_, _ = fmt.Fprint(t.req.Stderr, t.marker+"password:")
		line, err := t.in.ReadString('\n')
		switch {
		case err != nil:
			return t.refuse(1, "sudo: no password was provided")
		case s.Denied:
			return t.refuse(1, t.req.User+" is not in the sudoers file.")
		case strings.TrimSuffix(line, "\n") == s.Password:
			return -1
		}
		_, _ = fmt.Fprintln(t.req.Stderr, "Sorry, try again.")
	}
	return t.refuse(1, fmt.Sprintf("sudo: %d incorrect password attempts", sudoTries))
}

func (t *talk) refuse(code int, text string) int {
	_, _ = fmt.Fprintln(t.req.Stderr, text)
	return code
}
