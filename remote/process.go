package remote

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	defaultMaxOutput = 1 << 20         // bytes of stdout and of stderr of a process that is talked to
	maxNoise         = 256 << 10       // bytes that a login shell may print before a script starts
	maxAhead         = 64 << 10        // bytes of stdout that may wait for somebody to read them
	endSettles       = time.Second     // for the end of a process to follow that of its output
	maxSignalName    = 20              // bytes
	closeGrace       = 4 * time.Second // for the host to clean up when a process is closed
)

// Process is a command that is running.
type Process struct {
	Stdin  io.WriteCloser // connected once the script runs, after become
	Stdout io.Reader      // bounded by Cmd.MaxOutput

	conn    *Conn
	session *ssh.Session
	stdin   *idleWriter
	raw     *bufio.Reader // reads from ahead
	ahead   *spool        // stdout that nobody has read yet; closed with the cause when we end the process
	stderr  *stderrSink
	noise   headTail // of stdout since the last word of ours; whoever calls next has it
	marker  string
	done    chan struct{} // closed when the session has ended on the host
	aborted chan struct{} // closed when cause is set
	waitErr error
	cancel  func() bool // stops watching the context
	ctx     context.Context
	idle    *idleTimer

	terminal bool                     // the session has one
	tap      atomic.Pointer[listener] // hears stdout while a password may be asked for on it

	mu    sync.Mutex
	cause error  // why we ended it
	pid   string // of the shell that ends everything when it is told to
}

// launch is what start needs to know.
type launch struct {
	setup     string
	leaves    string // shell text: removes what setup made, for when its shell was killed
	body      string
	become    bool
	terminal  bool
	noStdin   bool
	maxOutput int64
	maxAhead  int                                       // of stdout that is not read yet; 0: maxAhead
	feed      func(p *Process, word, text string) error // answers words of the setup but READY
}

// start starts a launch, on a terminal where become turns out to need one.
func (c *Conn) start(ctx context.Context, l launch) (*Process, error) {
	l.terminal = l.become && c.terminal.Load()
	p, err := c.startOnce(ctx, l)
	if err != nil && l.become && !l.terminal && c.needsTerminal(err) {
		c.terminal.Store(true)
		l.terminal = true
		return c.startOnce(ctx, l)
	}
	return p, err
}

// startOnce opens a session, hands it the scripts and returns when the last one is ready.
func (c *Conn) startOnce(ctx context.Context, l launch) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.maxOutput <= 0 {
		l.maxOutput = defaultMaxOutput
	}
	p, err := c.open(ctx, l)
	if err != nil {
		return nil, ctxError(ctx, err)
	}
	if err := p.begin(l); err != nil {
		err = ctxError(ctx, p.explain(err))
		p.abort(err)
		p.linger()
		return nil, err
	}
	p.Stdout = &boundedReader{p: p, left: l.maxOutput}
	p.Stdin = scriptStdin{p}
	return p, nil
}

// open starts the login command.
func (c *Conn) open(ctx context.Context, l launch) (*Process, error) {
	p := &Process{
		conn: c, marker: newMarker(), done: make(chan struct{}), aborted: make(chan struct{}), ctx: ctx,
		terminal: l.terminal,
	}
	session, err := c.newSession(ctx)
	if err != nil {
		return nil, err
	}
	p.session = session
	p.stderr = &stderrSink{
		listener: &listener{marker: p.marker}, limit: l.maxOutput, over: func() { p.abort(errTooLong("stderr")) },
		noise: func() { p.abort(errTooLong("stderr, before the script started")) },
	}
	session.Stderr = p.stderr
	stdin, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.idle = newIdleTimer(c.opts.IdleTimeout, func() {
		p.abort(&Error{Kind: ErrTimeout, Err: fmt.Errorf("silent for %s", c.opts.IdleTimeout)})
	})
	p.stdin = &idleWriter{w: stdin, idle: p.idle}
	p.Stdin = p.stdin
	p.ahead = newSpool(max(l.maxAhead, maxAhead))
	p.raw = bufio.NewReaderSize(p.ahead, 4<<10)
	p.cancel = context.AfterFunc(ctx, func() { p.abort(ctxError(ctx, ctx.Err())) })
	if err := c.request(session, l.terminal); err != nil {
		p.cancel()
		_ = session.Close()
		return nil, c.sessionError(err)
	}
	go p.pump(&idleReader{stdout, p.idle})
	go func() {
		p.waitErr = session.Wait()
		p.idle.stop()
		close(p.done)
	}()
	return p, nil
}

// errNoSession is the end of a connection that a session was asked of.
var errNoSession = errors.New("it ended while a session was asked for")

// newSession opens a session channel. One that opens only when nobody waits for it any more is closed again. The library
// itself can wait for ever: a channel that is asked for just as the connection ends is told of no end
// (x/crypto/ssh v0.58.0, mux.openChannel beside mux.loop), so the connection's end is waited for too.
func (c *Conn) newSession(ctx context.Context) (*ssh.Session, error) {
	type result struct {
		session *ssh.Session
		err     error
	}
	opened, gone := make(chan result), make(chan struct{})
	defer close(gone)
	go func() {
		s, err := c.client.NewSession()
		select {
		case opened <- result{s, err}:
		case <-gone:
			if err == nil {
				_ = s.Close()
			}
		}
	}()
	answer := func(r result) (*ssh.Session, error) {
		if r.err != nil {
			return nil, c.sessionError(r.err)
		}
		return r.session, nil
	}
	select {
	case r := <-opened:
		return answer(r)
	case <-ctx.Done():
		return nil, ctxError(ctx, ctx.Err())
	case <-c.ended:
	}
	select { // the library's own reason, where it has one, says more
	case r := <-opened:
		return answer(r)
	case <-time.After(endSettles):
		return nil, c.lost(errNoSession)
	}
}

// pump takes stdout at once, whoever reads it: what waits in a channel is bounded by nothing but its window of 2 MiB.
// A host that is ahead of its reader by more than the spool holds does not answer what it was asked.
func (p *Process) pump(stdout io.Reader) {
	buf := make([]byte, 4<<10)
	for {
		n, err := stdout.Read(buf)
		if t := p.tap.Load(); t != nil {
			t.hear(buf[:n])
		}
		if !p.ahead.put(buf[:n]) {
			p.abort(errTooLong("stdout, more than was asked for"))
		}
		if err != nil {
			p.ahead.end(p.endOfOutput(err))
			return
		}
	}
}

// endOfOutput tells the end of a script's output from that of the connection, which looks the same to who reads it. A
// process that closes its stdout and goes on has an end of output, if one that comes late.
func (p *Process) endOfOutput(err error) error {
	select {
	case <-p.done:
	case <-time.After(endSettles):
		return err
	}
	if _, lost := p.status(); lost != nil {
		return ctxError(p.ctx, p.conn.lost(lost))
	}
	return err
}

// linger gives the host a moment to clean up, unless nobody waits any more.
func (p *Process) linger() {
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-p.ctx.Done():
	case <-timer.C:
	}
}

// sessionError sorts why a session could not be opened.
func (c *Conn) sessionError(err error) error {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return &Error{
			Kind: ErrDisconnected, Err: fmt.Errorf("no session: %s", Line(refused.Message)),
			Hint: "sshd limits the sessions of a connection: MaxSessions",
		}
	}
	if strings.Contains(err.Error(), "unexpected packet in response to channel open: <nil>") {
		err = errNoSession
	}
	return c.lost(err)
}

func errTooLong(stream string) *Error {
	return &Error{Kind: ErrOutputTooLong, Err: fmt.Errorf("on %s", stream)}
}

// begin brings the session to the point where the script runs.
func (p *Process) begin(l launch) error {
	w := wrapper{marker: p.marker, watch: `$PPID`, setup: l.setup, leaves: l.leaves, body: l.body}
	if l.terminal && l.noStdin {
		w.stdin = "/dev/null" // a terminal cannot say that its input has ended
	}
	if deadline, ok := p.ctx.Deadline(); ok {
		w.limit = time.Until(deadline) + 10*time.Second
	}
	if l.become {
		if err := p.becomeUser(&w); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(p.Stdin, w.script()); err != nil {
		return err
	}
	for {
		word, text, err := p.next()
		switch {
		case err != nil:
			return err
		case word == wordReady:
			p.setPid(text)
			return nil
		case l.feed == nil:
			return &Error{Kind: ErrDisconnected, Err: fmt.Errorf("unexpected word %q", Clean(word))}
		}
		if err := l.feed(p, word, text); err != nil {
			return err
		}
	}
}

// setPid remembers the first process id that a script of ours told: that of the outermost one.
func (p *Process) setPid(pid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = cmp.Or(p.pid, pid)
}

// next reads stdout up to the next marker and returns what stands behind it. Everything before it is noise.
func (p *Process) next() (word, text string, err error) {
	marker := []byte(p.marker + " ")
	var line []byte // the end of one, as far as it can matter
	seen := 0
	for {
		part, err := p.raw.ReadSlice('\n')
		line = append(line, part...)
		if i := bytes.Index(line, marker); i >= 0 && err == nil {
			p.noise = headTail{}
			word, text, _ = strings.Cut(strings.TrimRight(string(line[i+len(marker):]), "\r\n"), " ")
			return word, text, nil
		}
		p.noise.write(part)
		if seen += len(part); seen > maxNoise {
			return "", "", errTooLong("stdout, before the script started")
		}
		switch {
		case err == nil:
			line = line[:0]
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", "", err
		case len(line) <= maxLine:
		case bytes.Contains(line, marker):
			return "", "", errTooLong("stdout, in a word of the script")
		default:
			line = append(line[:0], line[len(line)-len(marker):]...)
		}
	}
}

// explain says why a session ended before its script ran.
func (p *Process) explain(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(closeGrace): // EOF without an end: take what is there
	}
	p.mu.Lock()
	cause := p.cause
	p.mu.Unlock()
	if cause != nil {
		return cause
	}
	said := p.stderr.text()
	if demandsPassword(said) {
		return &Error{Kind: ErrAuth, Err: errPasswordExpired, Hint: "log in by hand once and change the password"}
	}
	select {
	case <-p.done:
	default:
		return p.conn.lost(err)
	}
	code, ended := p.status()
	if ended != nil {
		return p.conn.lost(ended)
	}
	return &Error{
		Kind: ErrLoginShell, Err: fmt.Errorf("it ended with status %d: %s", code, cmp.Or(p.heard(said), "it said nothing")),
	}
}

// heard is what a host said on stderr and, since the last word of ours, on stdout, where nologin and sftp-only accounts say
// what they are.
func (p *Process) heard(stderr string) string {
	p.drain()
	return Line(strings.TrimSpace(strings.TrimSpace(stderr) + "\n" + strings.TrimSpace(string(p.noise.bytes()))))
}

// drain reads what a session that has ended said last: a script may not have been taken any more.
func (p *Process) drain() {
	select {
	case <-p.done:
	default:
		return
	}
	for {
		if _, _, err := p.next(); err != nil {
			return
		}
	}
}

// demandsPassword recognises how OpenSSH's sshd ends a session without a terminal for a user whose password has expired.
func demandsPassword(said string) bool {
	return strings.Contains("\n"+said, "\nPassword change required but no TTY available.")
}

// abort ends the process without waiting. The first cause stays.
func (p *Process) abort(cause error) {
	if p.setCause(cause) {
		go func() { // writes to a connection that hangs must not hold us up
			p.terminate()
			p.conn.send(func() { _ = p.session.Close() })
		}()
	}
}

// setCause remembers why we end the process and ends reads of its output. It returns false when it has been done.
func (p *Process) setCause(cause error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause != nil {
		return false
	}
	p.cause = cause
	close(p.aborted)
	p.ahead.end(cause)
	return true
}

// terminate tells the host to end the process: by a signal request, which sshd refuses for root, and by kill in a
// session of its own.
func (p *Process) terminate() {
	p.conn.send(func() { _ = p.session.Signal(ssh.SIGTERM) })
	p.stdin.tryClose()
	p.mu.Lock()
	pid := p.pid
	p.mu.Unlock()
	if pid == "" || strings.Trim(pid, "0123456789") != "" {
		return
	}
	select {
	case <-p.done:
		return
	case <-time.After(100 * time.Millisecond):
	}
	if killer, err := p.conn.newSession(context.Background()); err == nil { // it ends with the connection at the latest
		_ = killer.Run("kill -TERM " + pid)
		_ = killer.Close()
	}
}

// status reads what session.Wait said; p.done must be closed. A shell that a signal ended has none: what it ran may
// have come to any point.
func (p *Process) status() (int, error) {
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case p.waitErr == nil:
		return 0, nil
	case errors.As(p.waitErr, &exit) && exit.Signal() != "":
		signal := Line(Head(exit.Signal(), maxSignalName))
		return -1, &Error{Kind: ErrDisconnected, Err: errors.New("the shell on the host was ended by signal " + signal)}
	case errors.As(p.waitErr, &exit):
		return exit.ExitStatus(), nil
	case errors.As(p.waitErr, &missing):
		return -1, errors.New("the command ended without a status")
	}
	return -1, p.waitErr
}

// Wait waits for the end and returns the exit code and what stderr held (bounded).
func (p *Process) Wait() (exitCode int, stderr []byte, err error) {
	select {
	case <-p.done:
	case <-p.aborted:
	}
	p.cancel()
	p.mu.Lock()
	cause := p.cause
	p.mu.Unlock()
	if cause != nil {
		return -1, p.stderr.bytes(), cause
	}
	code, err := p.status()
	if err != nil {
		return -1, p.stderr.bytes(), ctxError(p.ctx, p.conn.lost(err))
	}
	return code, p.stderr.bytes(), nil
}

// errClosed is the cause of a process that Close ended.
var errClosed = errors.New("the process was closed")

// Close ends the process and waits until what it left on the host is cleaned up or the grace period is over.
func (p *Process) Close() error {
	select {
	case <-p.done:
		p.cancel()
		return nil
	default:
	}
	p.setCause(errClosed)
	go p.terminate()
	p.linger()
	p.conn.send(func() { _ = p.session.Close() })
	p.cancel()
	return nil
}

// scriptStdin is the stdin of a script that runs.
type scriptStdin struct{ p *Process }

// Write sends data. io.EOF says that the script reads no more; that the connection has ended is another error.
func (s scriptStdin) Write(b []byte) (int, error) {
	n, err := s.p.stdin.Write(b)
	switch {
	case err == nil, errors.Is(err, io.ErrClosedPipe): // by us
		return n, err
	case errors.Is(err, io.EOF):
		return n, s.p.endOfOutput(err)
	}
	return n, ctxError(s.p.ctx, s.p.conn.lost(err)) // whoever writes hears why nothing could be read any more: "unexpected EOF"
}

// Close sends EOF.
func (s scriptStdin) Close() error { return s.p.stdin.Close() }

// boundedReader is a script's stdout.
type boundedReader struct {
	p    *Process
	left int64
}

func (b *boundedReader) Read(buf []byte) (int, error) {
	if b.left <= 0 {
		if _, err := b.p.raw.ReadByte(); err != nil {
			return 0, err
		}
		err := errTooLong("stdout")
		b.p.abort(err)
		return 0, err
	}
	n, err := b.p.raw.Read(buf[:min(int64(len(buf)), b.left)])
	b.left -= int64(n)
	return n, err
}
