package remotetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// Machine is what stands behind a Protocol: it is handed what package remote sent, without the shell around it. Its
// methods are called by several goroutines, one a session, and must return when ctx ends.
type Machine interface {
	// Sudo says what sudo asks of a user that logged in.
	Sudo(login string) Sudo
	// Script runs a script and returns its exit code.
	Script(ctx context.Context, s *ScriptCall) int
	// WriteFile writes a file. A *Refusal is what the host's script would have said; any other error fails the test.
	WriteFile(ctx context.Context, f *FileCall) error
	// Place takes a payload; errors are as WriteFile's.
	Place(ctx context.Context, p *PayloadCall) error
	// Payload runs a payload that Place took and returns its exit code.
	Payload(ctx context.Context, p *PayloadCall) int
}

// Sudo is how sudo treats a user. The zero value lets it become anybody without a password.
type Sudo struct {
	Password string // asked for; "": none is
	Missing  bool   // there is no sudo
	Denied   bool   // sudoers has no rule for the user
}

// Call is what all calls of a Machine have.
type Call struct {
	Login  string // who logged in
	User   string // who it runs as: the login user, or whom sudo made of it
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Drop   func() // ends the connection, as a reboot does
}

// ScriptCall is a script of remote.Conn.Run or Start.
type ScriptCall struct {
	Call
	Text string
}

// FileCall is a file of remote.Conn.WriteFile.
type FileCall struct {
	Call
	Path         string
	Mode         uint32
	Owner, Group string // "": as they come
	Size         int
	Receive      func() ([]byte, error) // asks for the content; an error is for WriteFile to return
}

// PayloadCall is an executable of remote.Conn.StartPayload.
type PayloadCall struct {
	Call
	Name    string
	Args    []string
	SHA256  string // lower-case hex
	Size    int
	Keep    bool                   // may stay on the host for the next time
	Avoid   []string               // directories that were full before
	Receive func() ([]byte, error) // asks for the bytes; an error is for Place to return
}

// Refusal is a FAIL of the scripts: nodir, link, isdir, write, full, notool, sum, owner, mode, rename, short.
type Refusal struct{ Word, Text string }

func (r *Refusal) Error() string { return r.Word + ": " + r.Text }

// Protocol serves the scripts of package remote without a shell, by handing what is in them to a Machine. It keeps to
// the order in which the real scripts speak: nothing is READY before it is in place.
type Protocol struct {
	Machine Machine
	Noise   string // printed by each login shell before it reads a script
	Failf   func(format string, args ...any)

	mu      sync.Mutex
	pid     int
	running map[int]context.CancelFunc
}

// maxProtocolScript bounds what is read of a script whose end does not come, in bytes.
const maxProtocolScript = 4 << 20

// Exit codes of shells: a command that is not there, a script's fail, and one that SIGTERM ended.
const (
	exitUnknown    = 127
	exitRefused    = 97
	exitTerminated = 143
)

var killCommand = regexp.MustCompile(`^kill -TERM ([0-9]+)$`)

// Handler serves one exec request. What it does not recognise ends with status 127 and a call of Failf.
func (p *Protocol) Handler(ctx context.Context, req *Request) int {
	switch m := killCommand.FindStringSubmatch(req.Command); {
	case m != nil:
		return p.kill(m[1])
	case req.Command != "exec /bin/sh" || req.Pty:
		return p.unknown(req, "command %q (terminal: %v)", req.Command, req.Pty)
	}
	_, _ = io.WriteString(req.Stdout, p.Noise)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pid := p.enter(cancel)
	defer p.leave(pid)
	go func() {
		select {
		case <-req.Signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	t := &talk{Protocol: p, req: req, in: bufio.NewReaderSize(req.Stdin, 64<<10), pid: pid, user: req.User}
	code := t.serve(ctx)
	if ctx.Err() != nil && code >= 0 {
		return exitTerminated
	}
	return code
}

func (p *Protocol) enter(cancel context.CancelFunc) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		p.running, p.pid = map[int]context.CancelFunc{}, 1000
	}
	p.pid++
	p.running[p.pid] = cancel
	return p.pid
}

func (p *Protocol) leave(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, pid)
}

func (p *Protocol) kill(number string) int {
	var pid int
	_, _ = fmt.Sscan(number, &pid) // digits alone
	p.mu.Lock()
	defer p.mu.Unlock()
	cancel := p.running[pid]
	if cancel == nil {
		return 1 // no such process: it has ended by itself
	}
	cancel()
	return 0
}

func (p *Protocol) unknown(req *Request, format string, args ...any) int {
	if p.Failf != nil {
		p.Failf("remotetest: not understood: "+format, args...)
	}
	_, _ = fmt.Fprintln(req.Stderr, "remotetest: not understood")
	return exitUnknown
}

// talk is one session.
type talk struct {
	*Protocol
	req    *Request
	in     *bufio.Reader
	pid    int
	user   string
	marker string
}

// serve reads what remote sends: a become script, perhaps, and the wrapper.
func (t *talk) serve(ctx context.Context) int {
	text, err := t.script()
	if err != nil {
		return t.end(ctx, err)
	}
	if strings.HasPrefix(text, "fleetctl_become()") {
		if code := t.become(text); code >= 0 {
			return code
		}
		if text, err = t.script(); err != nil {
			return t.end(ctx, err)
		}
	}
	w, err := parseWrapper(text)
	if err != nil {
		return t.unknown(t.req, "%v in %q", err, text)
	}
	if w.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.limit)
		defer cancel()
	}
	t.marker = w.marker
	return t.run(ctx, w)
}

// end is the end of a session whose stdin ended before a whole script came.
func (t *talk) end(ctx context.Context, err error) int {
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return 0 // a shell that reads nothing more
	}
	return t.unknown(t.req, "%v", err)
}

// script reads one of the two functions of remote with its call.
func (t *talk) script() (string, error) {
	var b strings.Builder
	for b.Len() < maxProtocolScript {
		line, err := t.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if b.Len() == 0 && line != "fleetctl_become() {\n" && line != "fleetctl_main() {\n" {
			return "", fmt.Errorf("a script that begins with %q", line)
		}
		b.WriteString(line)
		if line == "fleetctl_become; exit\n" || line == "fleetctl_main; exit\n" {
			return b.String(), nil
		}
	}
	return "", errors.New("a script without end")
}

func (t *talk) say(word string) { _, _ = fmt.Fprintf(t.req.Stdout, "%s %s\n", t.marker, word) }

// ready says that stdin and stdout belong to the script from here on.
func (t *talk) ready() {
	t.say(fmt.Sprintf("READY %d", t.pid))
	_, _ = fmt.Fprintf(t.req.Stderr, "%s READY\n", t.marker)
}

func (t *talk) call(w *wrapped) Call {
	c := Call{Login: t.req.User, User: t.user, Stdin: t.in, Stdout: t.req.Stdout, Stderr: t.req.Stderr, Drop: t.req.Drop}
	if !w.stdin {
		c.Stdin = strings.NewReader("")
	}
	return c
}

// run hands a wrapper's content to the machine.
func (t *talk) run(ctx context.Context, w *wrapped) int {
	call := t.call(w)
	switch {
	case w.file != nil:
		w.file.Call, w.file.Receive = call, t.receiver(w.file.Size, w.sum)
		return t.placed(ctx, t.Machine.WriteFile(ctx, w.file), func() int { return 0 })
	case w.payload != nil:
		w.payload.Call, w.payload.Receive = call, t.receiver(w.payload.Size, w.sum)
		err := t.Machine.Place(ctx, w.payload)
		return t.placed(ctx, err, func() int { return t.Machine.Payload(ctx, w.payload) })
	}
	t.ready()
	return t.Machine.Script(ctx, &ScriptCall{Call: call, Text: w.script})
}

// placed goes on after a setup, or says why it failed.
func (t *talk) placed(ctx context.Context, err error, then func() int) int {
	var refusal *Refusal
	switch {
	case err == nil:
		t.ready()
		return then()
	case errors.As(err, &refusal):
		t.say(strings.TrimSpace("FAIL " + refusal.Word + " " + refusal.Text))
		return exitRefused
	case ctx.Err() != nil:
		return exitTerminated
	}
	return t.unknown(t.req, "the machine failed: %v", err)
}
