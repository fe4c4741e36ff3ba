package chaos

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/tpm/wire"
	"fleetctl/remote/remotetest"
)

// fault is one way in which a host is not well.
type fault struct {
	name     string
	statuses []string // how its scan may end; "" is ok
	do       func(h *enrolltest.Host, r *rand.Rand)
	slow     bool   // it takes until a time-out
	key      string // what known_hosts has: "" its key, "other" another one, "none" none
	closed   bool   // its port is one that nobody listens on
	twin     bool   // it has the TPM of the host before it, which is no healthy one then
}

// faults are all of them. A status that a fault may have is one of docs/statuses.md.
func faults() []fault {
	state := func(f func(*enrolltest.State)) func(*enrolltest.Host, *rand.Rand) {
		return func(h *enrolltest.Host, _ *rand.Rand) { h.With(f) }
	}
	always := func(f remotetest.Fault) func(*enrolltest.Host, *rand.Rand) {
		return func(h *enrolltest.Host, _ *rand.Rand) { h.Fault = func() remotetest.Fault { return f } }
	}
	opens := func(err error) func(*enrolltest.Host, *rand.Rand) {
		return func(h *enrolltest.Host, _ *rand.Rand) { h.TPM.Err = err }
	}
	refuses := func(rc uint32, times int64) func(*enrolltest.Host, *rand.Rand) {
		return func(h *enrolltest.Host, r *rand.Rand) {
			var left atomic.Int64
			left.Store(times)
			h.TPM.Refuse = func(uint32) uint32 {
				if left.Add(-1) >= 0 {
					return rc
				}
				return 0
			}
		}
	}
	const ever = 1 << 40
	return []fault{
		{name: "its port is closed", statuses: []string{"connect-failed"}, closed: true},
		{name: "it closes each connection", statuses: []string{"disconnected"}, do: state(func(s *enrolltest.State) { s.Down = true })},
		{name: "it is silent", statuses: []string{"timeout"}, slow: true, do: state(func(s *enrolltest.State) { s.Silent = true })},
		{name: "it is silent in the login", statuses: []string{"timeout"}, slow: true, do: always(remotetest.Fault{HangInAuth: true})},
		{name: "it resets at a random byte", statuses: []string{"disconnected", ""}, do: func(h *enrolltest.Host, r *rand.Rand) {
			f := remotetest.Fault{DropAfter: 1 + r.Int64N(12000)}
			h.Fault = func() remotetest.Fault { return f }
		}},
		{name: "it floods instead of a banner", statuses: []string{"connect-failed"},
			do: always(remotetest.Fault{Garbage: []byte("\x1b[2Jtbot joined, all is well; ")})},
		{name: "it drips", statuses: []string{"", "timeout"}, slow: true, do: always(remotetest.Fault{BytesPerSecond: 4000})},
		{name: "it shows another key", statuses: []string{"host-key-changed"}, key: "other"},
		{name: "nobody knows its key", statuses: []string{"host-key-unknown"}, key: "none"},
		{name: "it hangs at a random step", statuses: []string{"timeout"}, slow: true, do: atStep(enrolltest.ErrHang)},
		{name: "it reboots at a random step", statuses: []string{"disconnected"}, do: atStep(enrolltest.ErrDrop)},
		{name: "it talks too much", statuses: []string{"bad-output", "login-shell"}, do: func(h *enrolltest.Host, _ *rand.Rand) { h.Wrap = flood }},
		{name: "it garbles what its helper says", statuses: []string{"bad-output", "unproven", "tpm-error", "disconnected", "login-shell", "no-exec-dir",
			"error", "ek-unreadable", "timeout", "become-failed", ""}, slow: true, do: garble},
		{name: "what its helper says has no end", statuses: []string{"bad-output", "tpm-error", "login-shell", ""}, do: overflow},
		{name: "its commands are killed", statuses: []string{"disconnected"}, do: func(h *enrolltest.Host, _ *rand.Rand) { h.Wrap = killed }},
		{name: "nothing may execute", statuses: []string{""}, do: state(func(s *enrolltest.State) { s.NoExec = true })},
		{name: "its disk is full", statuses: []string{"no-space"}, do: state(func(s *enrolltest.State) { s.Full = true })},
		{name: "its disk is read-only", statuses: []string{""}, do: state(func(s *enrolltest.State) { s.ReadOnly = []string{"/"} })},
		{name: "its clock is wrong", statuses: []string{""}, do: func(h *enrolltest.Host, r *rand.Rand) {
			h.With(func(s *enrolltest.State) { s.Clock = time.Duration(r.Int64N(int64(20000*time.Hour))) - 10000*time.Hour })
		}},
		{name: "sudo asks for a password", statuses: []string{"become-failed"},
			do: state(func(s *enrolltest.State) { s.Sudo.Password = "secret" })},
		{name: "sudo refuses", statuses: []string{"become-failed"}, do: state(func(s *enrolltest.State) { s.Sudo.Denied = true })},
		{name: "it has no TPM", statuses: []string{"no-tpm"},
			do: state(func(s *enrolltest.State) { s.Sysfs = false; delete(s.Files, s.Device) })},
		{name: "its TPM is a 1.2", statuses: []string{"tpm-1.2"}, do: state(func(s *enrolltest.State) { s.TPM12 = true })},
		{name: "its TPM is taken", statuses: []string{"tpm-busy"}, do: opens(wire.ErrBusy)},
		{name: "its TPM is in lockout", statuses: []string{"tpm-lockout"}, do: refuses(wire.RCLockout, ever)},
		{name: "its TPM has failed", statuses: []string{"tpm-error"}, do: refuses(0x101, ever)},
		{name: "its TPM is busy for a moment", statuses: []string{""}, do: refuses(wire.RCRetry, 3)},
		{name: "its TPM answers with another secret", statuses: []string{"unproven"},
			do: func(h *enrolltest.Host, _ *rand.Rand) { h.TPM.WrongSecret = true }},
		{name: "another host has its TPM, too", statuses: []string{"duplicate-ek"}, twin: true},
	}
}

// quick are the faults that show at once.
func quick() []fault {
	return slices.DeleteFunc(faults(), func(f fault) bool { return f.slow })
}

// atStep lets a host do something at one of the first things that it is asked.
func atStep(what error) func(*enrolltest.Host, *rand.Rand) {
	return func(h *enrolltest.Host, r *rand.Rand) {
		at := 1 + r.IntN(2)
		h.Before = func(e enrolltest.Event) error {
			if e.N >= at {
				return what
			}
			return nil
		}
	}
}

// flood lets every command print without an end, before it says what it should.
func flood(remotetest.Handler) remotetest.Handler {
	return func(ctx context.Context, req *remotetest.Request) int {
		line := []byte("web-01 ok proven \x1b]0;owned\x07 0123456789012345678901234567890123456789\n")
		for ctx.Err() == nil {
			if _, err := req.Stdout.Write(line); err != nil {
				break
			}
		}
		return 0
	}
}

// killed lets every command end by a signal, in the middle.
func killed(remotetest.Handler) remotetest.Handler {
	return func(context.Context, *remotetest.Request) int { return -1 }
}

// garble changes single bytes of what the host says on stdout, from a random one on.
func garble(h *enrolltest.Host, r *rand.Rand) {
	from, every := r.IntN(3000), 1+r.IntN(400)
	h.Wrap = func(next remotetest.Handler) remotetest.Handler {
		return func(ctx context.Context, req *remotetest.Request) int {
			req.Stdout = &garbler{w: req.Stdout, from: from, every: every}
			return next(ctx, req)
		}
	}
}

// overflow lets the host send frames of the largest size without an end, from a random byte on.
func overflow(h *enrolltest.Host, r *rand.Rand) {
	from := r.IntN(1500)
	h.Wrap = func(next remotetest.Handler) remotetest.Handler {
		return func(ctx context.Context, req *remotetest.Request) int {
			req.Stdout = &endless{w: req.Stdout, left: from}
			return next(ctx, req)
		}
	}
}

type endless struct {
	w    interface{ Write([]byte) (int, error) }
	left int
}

// Write writes what it should for a while, and then for ever.
func (e *endless) Write(p []byte) (int, error) {
	if e.left -= len(p); e.left >= 0 {
		return e.w.Write(p)
	}
	for {
		if _, err := e.w.Write(bytes.Repeat([]byte{0xff}, 32<<10)); err != nil {
			return 0, err
		}
	}
}

type garbler struct {
	w           interface{ Write([]byte) (int, error) }
	from, every int
	n           int
}

// Write writes something else.
func (g *garbler) Write(p []byte) (int, error) {
	out := append([]byte{}, p...)
	for i := range out {
		if g.n++; g.n > g.from && g.n%g.every == 0 {
			out[i] ^= 0x15
		}
	}
	return g.w.Write(out)
}
