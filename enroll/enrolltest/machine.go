package enrolltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// What the hooks of a Host may return beside any other error.
var (
	ErrDrop = errors.New("the connection ends")
	ErrHang = errors.New("nothing is answered any more")
)

// Serve starts hosts on one listener and returns how to reach each, as admin who becomes root by sudo. It ends with the
// test.
func Serve(t testing.TB, hosts ...*Host) (*remotetest.Fleet, []remote.Target) {
	t.Helper()
	fleet := remotetest.StartFleet(t)
	targets := make([]remote.Target, len(hosts))
	for i, h := range hosts {
		targets[i] = h.Attach(fleet)
	}
	return fleet, targets
}

// Attach adds the host to a fleet.
func (h *Host) Attach(fleet *remotetest.Fleet) remote.Target {
	p := &remotetest.Protocol{Machine: (*machine)(h), Failf: h.failf, Noise: "Linux " + h.Name + "\n"}
	is := func(f func(*State) bool) func() bool {
		return func() (yes bool) {
			h.With(func(s *State) { yes = f(s) })
			return yes
		}
	}
	handler := remotetest.Handler(p.Handler)
	if h.Wrap != nil {
		handler = h.Wrap(handler)
	}
	return fleet.Add(h.Name, "admin", remotetest.FleetHost{
		Handler: handler, Fault: h.Fault, Users: []string{"root", "admin"},
		Down: is(func(s *State) bool { return s.Down }), Silent: is(func(s *State) bool { return s.Silent }),
	})
}

// Inventory is an inventory of targets, in Ansible's YAML format.
func Inventory(targets []remote.Target) []byte {
	var b strings.Builder
	b.WriteString("all:\n  hosts:\n")
	for _, t := range targets {
		fmt.Fprintf(&b, "    %s:\n      ansible_host: %s\n      ansible_port: %d\n      ansible_user: %s\n"+
			"      ansible_ssh_private_key_file: %q\n      ansible_ssh_common_args: %q\n",
			t.Name, t.Host, t.Port, t.User, t.PrivateKeyFile, strings.Join(t.SSHArgs, " "))
	}
	return []byte(b.String())
}

// machine is a Host as the SSH server sees it.
type machine Host

func (m *machine) host() *Host { return (*Host)(m) }

// Sudo is State.Sudo.
func (m *machine) Sudo(string) (s remotetest.Sudo) {
	m.host().With(func(st *State) { s = st.Sudo })
	return s
}

// hook tells a hook of an event, and makes what it says happen. It returns false where the answer must not be sent;
// err is what is to fail.
func (h *Host) hook(ctx context.Context, hook func(Event) error, e Event, drop func()) (ok bool, err error) {
	if hook == nil {
		return true, nil
	}
	switch err = hook(e); {
	case errors.Is(err, ErrDrop):
		drop()
		<-ctx.Done()
		return false, nil
	case errors.Is(err, ErrHang):
		<-ctx.Done()
		return false, nil
	}
	return true, err
}

func (h *Host) event(kind, what, user string) Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	return Event{Host: h.Name, N: h.n, Kind: kind, What: what, Root: user == "root"}
}

// gone is the exit code of what nobody hears the end of.
const gone = -1

// Script runs a script, or answers it where it asks what the model knows by itself.
func (m *machine) Script(ctx context.Context, c *remotetest.ScriptCall) int {
	h := m.host()
	what := scriptKind(c.Text)
	e := h.event("script", what, c.User)
	e.Text = c.Text
	ok, err := h.hook(ctx, h.Before, e, c.Drop)
	switch {
	case !ok:
		return gone
	case err != nil:
		_, _ = fmt.Fprintln(c.Stderr, err)
		return 1
	case what == "tpm":
		return h.tpmShell(ctx, c)
	}
	var out, stderr bytes.Buffer
	code := h.runScript(ctx, what, c, &out, &stderr)
	if ok, _ := h.hook(ctx, h.After, e, c.Drop); !ok {
		return gone
	}
	_, _ = c.Stdout.Write(out.Bytes())
	_, _ = c.Stderr.Write(stderr.Bytes())
	return code
}

// scriptKind tells the scripts that ask from those that act.
func scriptKind(text string) string {
	switch {
	case strings.Contains(text, "fleetctl-tpm 1 "):
		return "tpm"
	case strings.Contains(text, "printf 'os=%s\\n'"):
		return "probe"
	case strings.Contains(text, "\nkv uid "):
		return "facts"
	case strings.Contains(text, "\nkv state "):
		return "verify"
	}
	return "action"
}

func (h *Host) runScript(ctx context.Context, what string, c *remotetest.ScriptCall, out, stderr *bytes.Buffer) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	var text string
	var ok bool
	switch a := readAsked(c.Text); what {
	case "probe":
		text, ok = h.probe(c.User, a)
	case "facts":
		text, ok = h.facts(c.User, a)
	case "verify":
		text, ok = h.verify(a)
	default:
		return h.newShell(ctx, c.User, c.Stdin, out, stderr).script(c.Text)
	}
	if !ok {
		return exitNotFound
	}
	out.WriteString(text)
	return 0
}

// unlocked waits for something without holding up the host's other sessions.
func (h *Host) unlocked(f func() ([]byte, error)) ([]byte, error) {
	h.mu.Unlock()
	defer h.mu.Lock()
	return f()
}

// WriteFile is the file script of package remote over the model, refusal by refusal.
func (m *machine) WriteFile(ctx context.Context, c *remotetest.FileCall) error {
	h := m.host()
	e := h.event("file", c.Path, c.User)
	ok, err := h.hook(ctx, h.Before, e, c.Drop)
	var refusal *remotetest.Refusal
	switch {
	case !ok:
		return ctx.Err()
	case errors.As(err, &refusal):
		return err
	case err != nil:
		return &remotetest.Refusal{Word: "write", Text: err.Error()}
	}
	if err := h.mayWrite(c); err != nil {
		return err
	}
	data, err := c.Receive()
	if err == nil {
		err = h.place(c, data)
	}
	if err != nil {
		return err
	}
	if ok, _ := h.hook(ctx, h.After, e, c.Drop); !ok {
		return ctx.Err()
	}
	return nil
}

// mayWrite is what the script looks at before it asks for the content.
func (h *Host) mayWrite(c *remotetest.FileCall) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	dir := c.Path[:max(1, strings.LastIndexByte(c.Path, '/'))]
	d, _, err := h.s.follow(c.User, dir)
	f := h.s.Files[c.Path]
	switch {
	case err != nil || d.Kind != Dir:
		return &remotetest.Refusal{Word: "nodir", Text: dir + " is not a directory"}
	case f != nil && f.Kind == Link:
		return &remotetest.Refusal{Word: "link", Text: c.Path + " is a symbolic link"}
	case f != nil && f.Kind == Dir:
		return &remotetest.Refusal{Word: "isdir", Text: c.Path + " is a directory"}
	case h.s.Full:
		return &remotetest.Refusal{Word: "full", Text: "sh: cannot create " + dir + "/.fleetctl-x.tmp: No space left on device"}
	}
	if err := h.s.entry(c.User, c.Path); err != nil {
		return &remotetest.Refusal{Word: "write", Text: fmt.Sprintf("sh: cannot create %s/.fleetctl-x.tmp: %v", dir, err)}
	}
	return nil
}

// place makes a new file of what came, and puts it over the old one.
func (h *Host) place(c *remotetest.FileCall, data []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &File{Kind: Regular, Mode: c.Mode, Owner: c.User, Group: h.s.groupsOf(c.User)[0], Content: data}
	if c.User != "root" && (c.Owner != "" && c.Owner != c.User || c.Group != "") {
		return &remotetest.Refusal{Word: "owner", Text: "chown: changing ownership: Operation not permitted"}
	}
	if err := h.s.own(f, c.Owner, c.Group); err != nil {
		return &remotetest.Refusal{Word: "owner", Text: "chown: " + err.Error()}
	}
	h.s.Files[c.Path] = f
	return nil
}
