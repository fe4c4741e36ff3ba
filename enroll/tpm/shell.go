package tpm

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"fleetctl/enroll/sh"
	"fleetctl/enroll/tpm/device"
	"fleetctl/enroll/tpm/wire"
)

//go:embed shell.sh
var shellScript string

const (
	shellGreeting    = "fleetctl-tpm 1 "
	maxGreeting      = 4096 // bytes
	maxShellResponse = 8192 // bytes; TPM2_PT_MAX_RESPONSE_SIZE is 4096 on the chips that we know
	responseHeader   = 10   // bytes: tag, size, code
)

// ShellScript is a POSIX sh script that gives its stdin and stdout to the TPM: for ShellLink. It needs dd, and od where
// the TPM has no resource manager. device is a character device, or "" for the one that tbot would take; a unix socket
// is out of a shell's reach. The script ends at the end of stdin and flushes what was made until then.
func ShellScript(device string) string {
	return "fleetctl_device=" + shellQuote(device) + "\n" + sh.TPMDevice + shellScript
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// ShellLink talks to ShellScript over its stdin and stdout: the same reading code as the helper's, run here. Closing
// stdin is for the caller to do; closing stdout ends what still waits for it.
func ShellLink(stdin io.Writer, stdout io.Reader) Link {
	s := &shell{in: stdin, out: bufio.NewReaderSize(stdout, maxGreeting)}
	return &shellLink{shell: s}
}

// shellLink is a tpmLink once the script has said which TPM it has.
type shellLink struct {
	tpmLink
	shell *shell
}

func (l *shellLink) Read(ctx context.Context, object bool) (*Raw, error) {
	if l.session == nil {
		// A session in vain, so that within has one to hand to Release.
		l.session = device.NewSession(l.shell, "", "")
		opened := make(chan *device.Session, 1)
		err := l.within(ctx, func() error {
			s, err := l.shell.greet()
			opened <- s
			return err
		})
		if err != nil {
			return nil, err
		}
		l.session = <-opened
	}
	return l.tpmLink.Read(ctx, object)
}

// shell is a go-tpm transport.TPM over the script.
type shell struct {
	in  io.Writer
	out *bufio.Reader
}

// greet reads the script's first line: "fleetctl-tpm 1", a word, details.
func (s *shell) greet() (*device.Session, error) {
	line, err := s.out.ReadSlice('\n')
	if err != nil {
		return nil, wire.NewError(wire.ErrProtocol, "the shell ended before it found the TPM: ", err.Error())
	}
	text, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), shellGreeting)
	if !ok {
		return nil, wire.NewError(wire.ErrProtocol, "the shell says ", wire.Printable(string(line), 80))
	}
	word, detail, _ := strings.Cut(text, " ")
	switch word {
	case wire.FoundSysfs, wire.FoundDev, wire.FoundOption:
		return device.NewSession(s, detail, word), nil
	case "none":
		return nil, wire.NewError(wire.ErrNoTPM, detail)
	case "old":
		return nil, wire.NewError(wire.ErrTPM12, detail, " is a TPM 1.2; look for an update of its firmware to 2.0")
	case "permission":
		return nil, wire.NewError(wire.ErrPermission, detail)
	case "busy":
		return nil, wire.NewError(wire.ErrBusy, detail, " is held by another process; it has no resource manager")
	case "socket":
		return nil, wire.NewError(wire.ErrTPM, detail, " is a unix socket, which a shell cannot speak to; use the helper")
	}
	return nil, wire.NewError(wire.ErrTPM, detail)
}

// Send implements transport.TPM.
func (s *shell) Send(command []byte) ([]byte, error) { return s.send("", command) }

// SendCreate sends a command whose response carries a new handle: the script flushes it if this side dies.
func (s *shell) SendCreate(command []byte) ([]byte, error) { return s.send("+", command) }

// SendFlush sends a command that flushes the newest handle.
func (s *shell) SendFlush(command []byte) ([]byte, error) { return s.send("-", command) }

func (s *shell) send(mark string, command []byte) ([]byte, error) {
	line := fmt.Sprintf("%d %s\n", len(command), mark)
	if _, err := s.in.Write(append([]byte(line), command...)); err != nil {
		return nil, err
	}
	response := make([]byte, responseHeader)
	if _, err := io.ReadFull(s.out, response); err != nil {
		return nil, wire.NewError(wire.ErrTPM, "the shell ended without an answer of the TPM: ", err.Error())
	}
	tag, size := binary.BigEndian.Uint16(response), binary.BigEndian.Uint32(response[2:])
	if tag == 0 {
		return nil, wire.NewError(wire.ErrTPM, "the device gave no answer")
	}
	if size < responseHeader || size > maxShellResponse {
		return nil, wire.NewError(wire.ErrTPM, "the device's answer has a wrong length")
	}
	response = append(response, make([]byte, size-responseHeader)...)
	if _, err := io.ReadFull(s.out, response[responseHeader:]); err != nil {
		return nil, wire.NewError(wire.ErrTPM, "the shell ended within an answer of the TPM: ", err.Error())
	}
	return response, nil
}
