package enrolltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/enroll/tpm/device"
	"fleetctl/enroll/tpm/wire"
	"fleetctl/remote/remotetest"
)

// Place takes the helper, where a directory may execute and has room.
func (m *machine) Place(ctx context.Context, c *remotetest.PayloadCall) error {
	h := m.host()
	ok, err := h.hook(ctx, h.Before, h.event("payload", c.Name, c.User), c.Drop)
	var refusal *remotetest.Refusal
	switch {
	case !ok:
		return ctx.Err()
	case errors.As(err, &refusal):
		return err
	case err != nil:
		return &remotetest.Refusal{Word: "short", Text: err.Error()}
	case c.Name != "identify":
		return fmt.Errorf("not modelled: payload %s", c.Name)
	}
	why := ""
	h.With(func(s *State) {
		switch {
		case s.NoExec:
			why = "/tmp:noexec :missing /home/admin:noexec /var/tmp:noexec /dev/shm:noexec"
		case s.Full:
			why = "/tmp:full :missing /home/admin:full /var/tmp:full /dev/shm:full"
		}
	})
	if why != "" {
		return &remotetest.Refusal{Word: "nodir", Text: why}
	}
	_, err = c.Receive()
	return err
}

// Payload is the helper: its own code over the host's TPM.
func (m *machine) Payload(ctx context.Context, c *remotetest.PayloadCall) int {
	option := ""
	switch {
	case len(c.Args) == 2 && c.Args[0] == "-device":
		option = c.Args[1]
	case len(c.Args) > 0:
		m.host().failf("not modelled: identify %q", c.Args)
		return 2
	}
	err := device.Serve(ctx, c.Stdin, c.Stdout, func(context.Context) (*device.Session, error) {
		dev, found, err := m.host().openTPM(option, c.User)
		if err != nil {
			return nil, err
		}
		return device.NewSession(m.TPM, dev, found), nil
	})
	if err != nil {
		_, _ = fmt.Fprintln(c.Stderr, "identify:", err)
		return 1
	}
	return 0
}

// openTPM finds and opens the TPM as the helper and tbot do: by sysfs, else by the nodes that are there.
func (h *Host) openTPM(option, user string) (dev, found string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.s
	dev, found = s.Device, wire.FoundSysfs
	f := s.Files[dev]
	switch {
	case option != "":
		dev, found = option, wire.FoundOption
		if f = s.Files[dev]; f == nil {
			return "", "", wire.NewError(wire.ErrNoTPM, dev, ": no such file or directory")
		}
	case s.Sysfs && s.TPM12:
		return "", "", wire.NewError(wire.ErrTPM12, "tpm0")
	case f == nil:
		return "", "", wire.NewError(wire.ErrNoTPM, "the kernel shows none; is it enabled in the firmware?")
	case !s.Sysfs:
		found = wire.FoundDev
	}
	switch {
	case !s.may(user, f, 6):
		return "", "", wire.NewError(wire.ErrPermission, dev)
	case h.TPM == nil:
		return "", "", wire.NewError(wire.ErrNoTPM, dev, ": no such device")
	}
	return dev, found, h.TPM.Err
}

// tpmShell speaks to the TPM command by command, as the script for hosts without a helper does.
func (h *Host) tpmShell(ctx context.Context, c *remotetest.ScriptCall) int {
	a := readAsked(strings.Replace(c.Text, "fleetctl_device=", "DEV=", 1))
	dev, found, err := h.openTPM(a.vars["DEV"], c.User)
	say := func(word, detail string) { _, _ = fmt.Fprintf(c.Stdout, "fleetctl-tpm 1 %s %s\n", word, detail) }
	var e *wire.Error
	switch {
	case errors.As(err, &e) && errors.Is(err, wire.ErrTPM12):
		say("old", e.Detail)
	case errors.As(err, &e) && errors.Is(err, wire.ErrPermission):
		say("permission", e.Detail)
	case errors.As(err, &e):
		say("none", e.Detail)
	case errors.Is(err, wire.ErrBusy):
		say("busy", dev)
	case err != nil:
		say("error", err.Error())
	default:
		say(found, dev)
		overShell(ctx, h.TPM, c.Stdin, c.Stdout)
	}
	return 0
}

// overShell answers "LENGTH MARK" lines with LENGTH bytes after each until stdin ends, then flushes what is left.
func overShell(ctx context.Context, t *softtpm.TPM, in io.Reader, out io.Writer) {
	var made []uint32
	for ctx.Err() == nil {
		var size int
		mark := ""
		line, err := readLine(in)
		if _, scanErr := fmt.Sscan(line, &size); err != nil || scanErr != nil {
			break
		}
		if fields := strings.Fields(line); len(fields) > 1 {
			mark = fields[1]
		}
		command := make([]byte, size)
		if _, err := io.ReadFull(in, command); err != nil {
			break
		}
		response, err := t.Send(command)
		if err != nil {
			response = make([]byte, 10)
		}
		r := softtpm.Reader{Buf: response}
		_, _, code := r.U16(), r.U32(), r.U32()
		switch {
		case mark == "-" && len(made) > 0:
			made = made[:len(made)-1]
		case mark == "+" && code == 0:
			made = append(made, r.U32())
		}
		_, _ = out.Write(response)
	}
	for _, handle := range made {
		_, _, _ = t.FlushContext(&softtpm.Reader{Buf: []byte{byte(handle >> 24), byte(handle >> 16), byte(handle >> 8), byte(handle)}})
	}
}

// readLine reads a line byte by byte, as a shell's read does: what follows is somebody else's.
func readLine(in io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(in, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
}
