package arch

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"fleetctl/test/swtpm"
)

// activateCredential is TPM_CC_ActivateCredential (TPM 2.0 Part 2, section 6.5.2): the last command before all is flushed.
const activateCredential = 0x147

// gate is a TPM that stops before it answers one command: what happens meanwhile happens in the middle of it.
type gate struct {
	socket  string
	reached chan struct{} // closed when the TPM has run the command
	goOn    chan struct{} // is waited for
	stop    uint32        // the command
	tpm     string        // the TPM's own socket
}

// behindGate puts a gate before a TPM.
func behindGate(t *testing.T, e *swtpm.TPM, stop uint32) *gate {
	t.Helper()
	g := &gate{
		socket: filepath.Join(filepath.Dir(e.Socket), "gate"), tpm: e.Socket, stop: stop,
		reached: make(chan struct{}), goOn: make(chan struct{}),
	}
	l, err := net.Listen("unix", g.socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept() // a helper connects once
		if err != nil {
			return
		}
		defer conn.Close()
		for g.pass(conn) == nil {
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = l.Close() })
	return g
}

// pass hands on one command and its response. It connects for each, so that others get at the TPM in between.
func (g *gate) pass(conn net.Conn) error {
	command, err := readFrame(conn)
	if err != nil {
		return err
	}
	response, err := g.ask(command)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(command[6:]) == g.stop {
		close(g.reached)
		<-g.goOn
	}
	_, err = conn.Write(response)
	return err
}

func (g *gate) ask(command []byte) ([]byte, error) {
	tpm, err := net.Dial("unix", g.tpm)
	if err != nil {
		return nil, err
	}
	defer tpm.Close()
	if _, err := tpm.Write(command); err != nil {
		return nil, err
	}
	return readFrame(tpm)
}

// readFrame reads one command or response: a tag of 2 bytes, the whole length in 4, a code of 4, big-endian (TPM 2.0
// Part 1, section 18).
func readFrame(from io.Reader) ([]byte, error) {
	head := make([]byte, 10)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[2:])
	if size < 10 || size > 8192 {
		return nil, fmt.Errorf("frame of %d bytes", size)
	}
	frame := append(head, make([]byte, size-10)...)
	_, err := io.ReadFull(from, frame[10:])
	return frame, err
}
