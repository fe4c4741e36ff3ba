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
	defaultMaxOutput = 1 << 20         // bytes of stdout and of stderr
	maxNoise         = 256 << 10       // bytes that a login shell may print before a script starts
	closeGrace       = 4 * time.Second // for the host to clean up when a process is closed
)

// Process is a command that is running.
type Process struct {
	Stdin  io.WriteCloser // connected once the script runs, after become
	Stdout io.Reader      // bounded by Cmd.MaxOutput

	conn    *Conn
	session *ssh.Session
	stdin   *idleWriter
	raw     *bufio.Reader  // what the pump passes on
	pipe    *io.PipeWriter // the pump's end; closed with the cause when we end the process
	stderr  *stderrSink
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
	body      string
	become    bool
	terminal  bool
	noStdin   bool
	maxOutput int64
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
	reader, pipe := io.Pipe()
	p.pipe, p.raw = pipe, bufio.NewReaderSize(reader, 32<<10)
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

// newSession opens a session channel. One that opens only after ctx has ended is closed again.
func (c *Conn) newSession(ctx context.Context) (*ssh.Session, error) {
	type result struct {
		session *ssh.Session
		err     error
	}
	opened := make(chan result, 1)
	go func() { // ends with the connection at the latest
		s, err := c.client.NewSession()
		opened <- result{s, err}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, c.sessionError(r.err)
		}
		return r.session, nil
	case <-ctx.Done():
		go func() {
			if r := <-opened; r.err == nil {
				_ = r.session.Close()
			}
		}()
		return nil, ctxError(ctx, ctx.Err())
	}
}

// pump passes stdout on. Closing a channel on our side does not end a read from it before the host agrees, so that
// readers get a pipe, which can be closed at once; what comes later is drained.
func (p *Process) pump(stdout io.Reader) {
	_, err := io.Copy(tapWriter{p}, stdout)
	_ = p.pipe.CloseWithError(err)
	_, _ = io.Copy(io.Discard, stdout)
}

// tapWriter passes stdout to the pipe, and to the tap while there is one.
type tapWriter struct{ p *Process }

func (w tapWriter) Write(b []byte) (int, error) {
	if t := w.p.tap.Load(); t != nil {
		t.hear(b)
	}
	return w.p.pipe.Write(b)
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
	return c.lost(err)
}

func errTooLong(stream string) error {
	return &Error{Kind: ErrOutputTooLong, Err: fmt.Errorf("on %s", stream)}
}

// begin brings the session to the point where the script runs.
func (p *Process) begin(l launch) error {
	w := wrapper{marker: p.marker, watch: `$PPID`, setup: l.setup, body: l.body}
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
	seen := 0
	for {
		line, err := p.raw.ReadSlice('\n')
		if i := bytes.Index(line, marker); i >= 0 && err == nil {
			word, text, _ = strings.Cut(strings.TrimRight(string(line[i+len(marker):]), "\r\n"), " ")
			return word, text, nil
		}
		if seen += len(line); seen > maxNoise {
			return "", "", errTooLong("stdout, before the script started")
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", "", err
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
	if asksNewPassword(strings.ToLower(said)) {
		return &Error{Kind: ErrAuth, Err: errPasswordExpired, Hint: "log in by hand once and change the password"}
	}
	if code, err := p.status(); err == nil {
		return &Error{
			Kind: ErrLoginShell, Err: fmt.Errorf("it ended with status %d: %s", code, cmp.Or(Line(said), "it said nothing")),
		}
	}
	return p.conn.lost(err)
}

// abort ends the process without waiting. The first cause stays.
func (p *Process) abort(cause error) {
	if p.setCause(cause) {
		go func() { // writes to a connection that hangs must not hold us up
			p.terminate()
			_ = p.session.Close()
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
	_ = p.pipe.CloseWithError(cause)
	return true
}

// terminate tells the host to end the process: by a signal request, which sshd refuses for root, and by kill in a
// session of its own.
func (p *Process) terminate() {
	_ = p.session.Signal(ssh.SIGTERM)
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
	if killer, err := p.conn.client.NewSession(); err == nil {
		_ = killer.Run("kill -TERM " + pid)
		_ = killer.Close()
	}
}

// status reads what session.Wait said; p.done must be closed.
func (p *Process) status() (int, error) {
	var exit *ssh.ExitError
	switch {
	case p.waitErr == nil:
		return 0, nil
	case errors.As(p.waitErr, &exit):
		return exit.ExitStatus(), nil
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
	_ = p.session.Close()
	p.cancel()
	return nil
}

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

// idleTimer calls expired when nothing moved for a time; nil-safe when there is no limit.
type idleTimer struct {
	after time.Duration
	timer atomic.Pointer[time.Timer]
}

func newIdleTimer(after time.Duration, expired func()) *idleTimer {
	t := &idleTimer{after: after}
	if after > 0 {
		t.timer.Store(time.AfterFunc(after, expired))
	}
	return t
}

func (t *idleTimer) touch() {
	if timer := t.timer.Load(); timer != nil {
		timer.Reset(t.after)
	}
}

func (t *idleTimer) stop() {
	if timer := t.timer.Swap(nil); timer != nil {
		timer.Stop()
	}
}

type idleReader struct {
	io.Reader
	idle *idleTimer
}

func (r *idleReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.idle.touch()
	return n, err
}

// idleWriter is a session's stdin. A channel's EOF must neither be sent twice nor while data is being sent.
type idleWriter struct {
	w    io.WriteCloser
	idle *idleTimer

	mu     sync.Mutex
	closed bool
}

// Write sends data; it blocks while the host takes none.
func (w *idleWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, io.ErrClosedPipe
	}
	n, err := w.w.Write(p)
	w.idle.touch()
	return n, err
}

// Close sends EOF.
func (w *idleWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closeLocked()
}

// tryClose sends EOF unless data is being sent.
func (w *idleWriter) tryClose() {
	if w.mu.TryLock() {
		defer w.mu.Unlock()
		_ = w.closeLocked()
	}
}

func (w *idleWriter) closeLocked() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.w.Close()
}
