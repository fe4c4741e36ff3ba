//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// control starts the fleet, writes the controller's files, and stops the fleet when the command or a signal says so.
// The error is an *exec.ExitError when the command failed.
func control(o options, stderr io.Writer) error {
	dir, release, err := claimDir(o.dir)
	if err != nil {
		return err
	}
	defer release()
	fleet, err := planFleet(o.n, o.mix)
	if err != nil {
		return err
	}
	s := spec{Dir: dir, Verbose: o.verbose, Swtpm: o.swtpm, Hosts: fleet}
	if s.CA, err = newCA("fleetsim"); err != nil {
		return fmt.Errorf("CA: %w", err)
	}
	if s.Foreign, err = newCA("fleetsim foreign"); err != nil {
		return fmt.Errorf("CA: %w", err)
	}
	clientKey, clientPEM, err := newClientKey()
	if err != nil {
		return err
	}
	s.ClientKey = clientKey.Marshal()
	if err := adoptOrphans(); err != nil {
		return err
	}
	defer endOrphans()
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	began := time.Now()
	p, err := startFleet(interrupted, s, o.isolate, stderr)
	if err != nil {
		return err
	}
	defer p.stop()
	closed, err := reservePorts(fleet)
	if err != nil {
		return err
	}
	defer closed.close()
	if err := writeController(s, p, closed.ports, clientPEM); err != nil {
		return err
	}
	announce(stderr, s, p, time.Since(began))
	switch {
	case o.demo:
		return runDemo(dir, stderr)
	case len(o.command) > 0:
		return runCommand(o.command, dir)
	}
	return p.wait(interrupted)
}

// claimDir makes the directory, empties it of an earlier fleet's hosts, and holds it until release.
func claimDir(dir string) (abs string, release func(), err error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", nil, err
		}
		return lockDir(dir)
	}
	if dir, err = os.MkdirTemp("", "fleetsim-"); err != nil {
		return "", nil, err
	}
	abs, unlock, err := "", func() {}, os.Chmod(dir, 0o755) // hosts without namespaces have to get in
	if err == nil {
		abs, unlock, err = lockDir(dir)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", nil, err
	}
	return abs, func() {
		_ = os.RemoveAll(abs)
		unlock()
	}, nil
}

func lockDir(dir string) (abs string, unlock func(), err error) {
	if abs, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	// It stands in ssh's arguments and, with a port, in its files.
	if !regexp.MustCompile(`^[A-Za-z0-9/._@+=,-]+$`).MatchString(abs) {
		return "", nil, fmt.Errorf("-dir %q: only letters, digits and /._@+=,- please, since it becomes part of ssh options", abs)
	}
	lock, err := os.OpenFile(filepath.Join(abs, ".fleetsim"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return "", nil, fmt.Errorf("-dir %s: another fleetsim runs there", abs)
	}
	if err := resetHosts(abs); err != nil {
		_ = lock.Close()
		return "", nil, err
	}
	return abs, func() { _ = lock.Close() }, nil
}

// resetHosts leaves an empty hosts directory that belongs to whom the hosts run as.
func resetHosts(dir string) error {
	hosts := filepath.Join(dir, "hosts")
	if err := os.RemoveAll(hosts); err != nil {
		return err
	}
	if err := os.Mkdir(hosts, 0o755); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		i := fleetIDs()
		return os.Chown(hosts, i.uid, i.gid)
	}
	return nil
}

// process is the fleet as its controller sees it.
type process struct {
	cmd      *exec.Cmd
	lifeline io.Closer     // its stdin: it ends when this is closed
	done     chan struct{} // closed at its end
	port     int           // of the SSH servers
	isolated bool
}

// startFleet starts the hosts in namespaces of their own, or without, when isolate says auto and there can't be any.
func startFleet(ctx context.Context, s spec, isolate string, stderr io.Writer) (*process, error) {
	if isolate == "no" {
		return startProcess(ctx, s, stderr)
	}
	s.Isolate = true
	p, err := startProcess(ctx, s, stderr)
	if !errors.Is(err, errIsolation) {
		return p, err
	}
	if isolate == "yes" {
		return nil, fmt.Errorf("%w\n  allow user namespaces, or use -isolate=no", err)
	}
	fmt.Fprintf(stderr, "fleetsim: %v\n  going on without: the hosts see this machine's own files, "+
		"and nothing in them can become root\n", err)
	if err := resetHosts(s.Dir); err != nil {
		return nil, err
	}
	s.Isolate = false
	return startProcess(ctx, s, stderr)
}

// errIsolation says that this machine doesn't let hosts have namespaces of their own.
var errIsolation = errors.New("no file systems of their own for the hosts")

func startProcess(ctx context.Context, s spec, stderr io.Writer) (*process, error) {
	listener, port, err := listen()
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{keeperName}
	cmd.Env = append(os.Environ(), "FLEETSIM_DIR="+s.Dir)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{listener}
	cmd.SysProcAttr = childAttr(s.Isolate)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, lifeline: stdin, done: make(chan struct{}), port: port, isolated: s.Isolate}
	// The parents of that directory may be closed to the user that the hosts run as, so they can't change to it.
	if err := startIn(filepath.Join(s.Dir, "hosts"), cmd, p.done); err != nil {
		if s.Isolate {
			return nil, fmt.Errorf("%w: %w", errIsolation, err)
		}
		return nil, err
	}
	events := make(chan event)
	go p.follow(stdout, events)
	go func() { _ = json.NewEncoder(stdin).Encode(s) }() // its failure shows as the process's end
	if err := p.awaitReady(ctx, events, stderr); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// startIn starts a process that inherits the working directory of a thread. The thread stays until done, because
// PR_SET_PDEATHSIG fires when the thread that started a process ends.
func startIn(dir string, cmd *exec.Cmd, done <-chan struct{}) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, whose directory is its own, ends with the goroutine
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chdir(dir)
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			<-done
		}
	}()
	return <-started
}

// follow hands events on until the process ends.
func (p *process) follow(stdout io.Reader, events chan<- event) {
	in := json.NewDecoder(stdout)
	for {
		var e event
		if in.Decode(&e) != nil {
			break
		}
		events <- e
	}
	_, _ = io.Copy(io.Discard, stdout)
	_ = p.cmd.Wait() // it says itself what goes wrong
	close(events)
	close(p.done)
}

func (p *process) awaitReady(ctx context.Context, events <-chan event, stderr io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			go drain(events)
			return errors.New("interrupted")
		case e, ok := <-events:
			switch {
			case !ok:
				return errors.New("the hosts' process ended while it started")
			case e.Ready:
				go drain(events)
				return nil
			case e.Error != "":
				go drain(events)
				if e.Isolated {
					return fmt.Errorf("%w: %s", errIsolation, e.Error)
				}
				return errors.New(e.Error)
			default:
				fmt.Fprintf(stderr, "fleetsim: %d TPMs made\n", e.TPMs)
			}
		}
	}
}

func drain(events <-chan event) {
	for range events {
	}
}

// stop ends the fleet and waits until nothing of it is left.
func (p *process) stop() {
	_ = p.lifeline.Close()
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// wait waits for the end of the fleet or of the interest in it.
func (p *process) wait(interrupted context.Context) error {
	select {
	case <-interrupted.Done():
		return nil
	case <-p.done:
		return errors.New("the fleet ended unexpectedly")
	}
}

// runCommand runs the user's command while the fleet runs. Signals from the terminal reach it, too; it decides.
func runCommand(command []string, dir string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "FLEETSIM_DIR="+dir, "PWD="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	done := make(chan struct{})
	defer close(done)
	if err := startIn(dir, cmd, done); err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		case err := <-ended:
			return err
		}
	}
}

// listen opens a port on every loopback address at once, and on no other.
func listen() (*os.File, int, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "lo") }); e != nil {
			return e
		}
		if errors.Is(err, unix.EPERM) { // Linux before 5.7; the server refuses other addresses all the same
			return nil
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "tcp4", "0.0.0.0:0")
	if err != nil {
		return nil, 0, fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = l.Close() }()
	tcp := l.(*net.TCPListener)
	file, err := tcp.File()
	return file, tcp.Addr().(*net.TCPAddr).Port, err
}

// closedPorts are ports of hosts that are down: taken, so that nobody else can open them, and not listened on.
type closedPorts struct {
	ports map[string]int // by host name
	fds   []int
}

func reservePorts(fleet []host) (closedPorts, error) {
	c := closedPorts{ports: map[string]int{}}
	for _, h := range fleet {
		if h.Condition != down {
			continue
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return c, fmt.Errorf("socket: %w", err)
		}
		c.fds = append(c.fds, fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: h.Addr.As4()}); err != nil {
			return c, fmt.Errorf("bind to %s: %w", h.Addr, err)
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			return c, fmt.Errorf("getsockname: %w", err)
		}
		c.ports[h.Name] = name.(*unix.SockaddrInet4).Port
	}
	return c, nil
}

func (c closedPorts) close() {
	for _, fd := range c.fds {
		_ = unix.Close(fd)
	}
}

// announce says what there is, and which hosts are not as they should be.
func announce(w io.Writer, s spec, p *process, took time.Duration) {
	fmt.Fprintf(w, "fleetsim: %d hosts from %s on, port %d, ready in %.1f s\n", len(s.Hosts), s.Hosts[0].Addr, p.port, took.Seconds())
	names := map[condition][]string{}
	for _, h := range s.Hosts {
		name := h.Name
		if h.CloneOf != "" {
			name += " (of " + h.CloneOf + ")"
		}
		names[h.Condition] = append(names[h.Condition], name)
	}
	for _, c := range conditions {
		if n := names[c]; len(n) > 8 {
			fmt.Fprintf(w, "fleetsim: %s: %s and %d more\n", c, strings.Join(n[:8], " "), len(n)-8)
		} else if len(n) > 0 {
			fmt.Fprintf(w, "fleetsim: %s: %s\n", c, strings.Join(n, " "))
		}
	}
	fmt.Fprintf(w, "fleetsim: inventory: %s\n", filepath.Join(s.Dir, "inventory.yaml"))
}
