package remote

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// verdict says whether a line that has not ended is a question for a password.
type verdict int

const (
	asksNothing verdict = iota
	asksPerhaps         // if it stays as it is
	asksForSure
)

// prompter answers one password prompt.
type prompter struct {
	p        *Process
	prompt   string            // that we gave the method; no other text has it
	question func(string) bool // knows a question by its words, where the method or PAM asks in its own
	password string

	mu      sync.Mutex
	prompts int
	over    bool          // the other user's shell runs: it gets no password
	written chan struct{} // closed when the password is written; nil: it is not being written
}

// judge looks at a line that has not ended. began says whether the method runs; before that, nothing is its question.
func (a *prompter) judge(line string, began bool) verdict {
	switch {
	case strings.Contains(line, a.prompt):
		return asksForSure
	case began && (asksForNewPassword(line) || a.question(line)):
		return asksPerhaps
	}
	return asksNothing
}

// question recognises what the method asks for a password with: by the user's expression, else by its words.
func (b Become) question() (func(line string) bool, error) {
	if b.Prompt == "" {
		return asksForPassword, nil
	}
	re, err := regexp.Compile(b.Prompt)
	if err != nil {
		return nil, &Error{
			Kind: ErrConfig, Err: fmt.Errorf("the prompt of become: %w", err), Hint: "it is a regular expression (RE2)",
		}
	}
	return re.MatchString, nil
}

// asksForPassword recognises "Password: " of su and PAM, and "doas (user@host) password: ".
func asksForPassword(line string) bool {
	line = strings.ToLower(strings.TrimSpace(line))
	return strings.Contains(line, "password") && strings.HasSuffix(line, ":")
}

// asksForNewPassword recognises the questions that PAM changes an expired password with.
func asksForNewPassword(line string) bool {
	return asksForPassword(strings.ReplaceAll(strings.ToLower(line), "passwd", "password")) &&
		asksNewPassword(strings.ToLower(line))
}

// answer answers a question. It is called by whoever hears the host, so that it must not wait.
func (a *prompter) answer(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	if asksForNewPassword(line) && !strings.Contains(line, a.prompt) {
		a.p.abort(&Error{
			Kind: ErrBecome, Err: errors.New("the password has expired"), Hint: "change the password on the host",
		})
		return
	}
	a.prompts++
	if a.prompts > 1 || a.password == "" {
		a.p.abort(errors.New("asked twice"))
		return
	}
	written := make(chan struct{})
	a.written = written
	go func() {
		defer close(written)
		_, _ = io.WriteString(a.p.Stdin, a.password+"\n")
	}()
}

// end lets no password be written from here on, and waits for one that is being written.
func (a *prompter) end() {
	a.mu.Lock()
	a.over = true
	written := a.written
	a.mu.Unlock()
	if written == nil {
		return
	}
	select {
	case <-written:
	case <-a.p.aborted:
	case <-a.p.done:
	}
}

// twice reports whether the method asked again for a password that it was given.
func (a *prompter) twice() bool { return a.asked() > 1 && a.password != "" }

// sent reports whether the method was given the password.
func (a *prompter) sent() bool { return a.asked() > 0 && a.password != "" }

// asked is how often the method asked so far. It may ask, and be refused, before we have read that it began.
func (a *prompter) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.prompts
}
