//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Where a TPM keeps its RSA EK certificate and EK: TCG EK Credential Profile 2.4 §2.2.1.4, TCG Provisioning Guidance
// §7.8.
const (
	ekCertIndex = tpm2.TPMHandle(0x01C00002)
	ekHandle    = tpm2.TPMHandle(0x81010001)
)

// swtpmIdle is how long an swtpm goes on running after its last client has gone: some clients connect anew for every
// command. Starting one takes 5 ms, so few need to run.
const swtpmIdle = 2 * time.Second

// maxFrame bounds a TPM command or response; swtpm's own buffer has 4096 bytes.
const maxFrame = 4096

// emulator is a running swtpm, on one end of a socket pair: it ends when the other end is closed, by us or by our end.
type emulator struct {
	cmd  *exec.Cmd
	conn net.Conn
}

// startEmulator starts swtpm on a state directory, which it fills when it is empty. It sends TPM2_Startup(CLEAR).
func startEmulator(program, state string) (*emulator, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "tpm"), os.NewFile(uintptr(fds[1]), "swtpm")
	defer func() { _ = ours.Close() }()
	defer func() { _ = theirs.Close() }()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(state, "log"))
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(program, "socket", "--tpm2", "--tpmstate", "dir="+state, "--fd", "3",
		"--flags", "not-need-init,startup-clear")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &emulator{cmd: cmd, conn: conn}, nil
}

// stop ends swtpm and waits for it: its state is then on disk.
func (e *emulator) stop() {
	_ = e.conn.Close()
	_ = e.cmd.Wait() // its exit code says nothing that matters now
}

// send sends one command and returns the response.
func (e *emulator) send(command []byte) ([]byte, error) {
	if _, err := e.conn.Write(command); err != nil {
		return nil, err
	}
	return readFrame(e.conn)
}

// readFrame reads one TPM command or response: tag, size, code (TPM 2.0 Part 1, §18).
func readFrame(r io.Reader) ([]byte, error) {
	header := make([]byte, 10)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[2:])
	if size < 10 || size > maxFrame {
		return nil, fmt.Errorf("TPM frame of %d bytes", size)
	}
	frame := make([]byte, size)
	copy(frame, header)
	_, err := io.ReadFull(r, frame[10:])
	return frame, err
}

// provision does at a new TPM what its manufacturer would have done: an EK certificate in NV, the EK made persistent.
func provision(program, state string, issuer ca) (err error) {
	e, err := startEmulator(program, state)
	if err != nil {
		return err
	}
	defer e.stop()
	tpm := transport.FromReadWriter(e.conn)
	ek, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement,
		InPublic:      tpm2.New2B(tpm2.RSAEKTemplate),
	}.Execute(tpm)
	if err != nil {
		return fmt.Errorf("create the EK: %w", err)
	}
	cert, err := certify(ek.OutPublic, issuer)
	if err != nil {
		return fmt.Errorf("EK certificate: %w", err)
	}
	if err := writeNV(tpm, ekCertIndex, cert); err != nil {
		return err
	}
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: ek.ObjectHandle, Name: ek.Name},
		PersistentHandle: ekHandle,
	}.Execute(tpm)
	if err != nil {
		return fmt.Errorf("make the EK persistent: %w", err)
	}
	_, err = tpm2.FlushContext{FlushHandle: ek.ObjectHandle}.Execute(tpm)
	return err
}

func certify(ek tpm2.TPM2BPublic, issuer ca) ([]byte, error) {
	public, err := ek.Contents()
	if err != nil {
		return nil, err
	}
	params, err := public.Parameters.RSADetail()
	if err != nil {
		return nil, err
	}
	unique, err := public.Unique.RSA()
	if err != nil {
		return nil, err
	}
	key, err := tpm2.RSAPub(params, unique)
	if err != nil {
		return nil, err
	}
	return issuer.issue(key)
}

// writeNV defines an index as manufacturers do and fills it.
func writeNV(tpm transport.TPM, index tpm2.TPMHandle, data []byte) error {
	platform := tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
	_, err := tpm2.NVDefineSpace{AuthHandle: platform, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex:  index,
		NameAlg:  tpm2.TPMAlgSHA256,
		DataSize: uint16(len(data)),
		Attributes: tpm2.TPMANV{
			PPWrite: true, WriteDefine: true, PPRead: true, OwnerRead: true, AuthRead: true, NoDA: true, PlatformCreate: true,
		},
	})}.Execute(tpm)
	if err != nil {
		return fmt.Errorf("define NV index 0x%08X: %w", uint32(index), err)
	}
	const chunk = 512 // every TPM takes this much at once
	for offset := 0; offset < len(data); offset += chunk {
		public, err := tpm2.NVReadPublic{NVIndex: index}.Execute(tpm) // the first write changes the name
		if err != nil {
			return fmt.Errorf("read the public area of NV index 0x%08X: %w", uint32(index), err)
		}
		_, err = tpm2.NVWrite{
			AuthHandle: platform,
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: public.NVName},
			Data:       tpm2.TPM2BMaxNVBuffer{Buffer: data[offset:min(offset+chunk, len(data))]},
			Offset:     uint16(offset),
		}.Execute(tpm)
		if err != nil {
			return fmt.Errorf("write NV index 0x%08X: %w", uint32(index), err)
		}
	}
	return nil
}

// hostTPM serves one host's TPM on a unix socket. swtpm runs behind it while somebody uses it. As with swtpm's own
// socket there is no resource manager: what a client leaves in the TPM stays there until it falls idle.
type hostTPM struct {
	program, state string
	listener       net.Listener

	mu      sync.Mutex // held for one command
	running *emulator  // nil: idle
	clients int
	idle    *time.Timer // parks it when there are no clients
}

// serveTPM listens on path, which is short enough for a socket when it is relative.
func serveTPM(program, state, path string) (*hostTPM, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	t := &hostTPM{program: program, state: state, listener: l}
	t.idle = time.AfterFunc(swtpmIdle, t.park)
	go t.accept()
	return t, nil
}

func (t *hostTPM) accept() {
	for {
		c, err := t.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: they come back
			continue
		}
		go t.client(c)
	}
}

func (t *hostTPM) client(c net.Conn) {
	defer func() { _ = c.Close() }()
	t.count(+1)
	defer t.count(-1)
	for {
		command, err := readFrame(c)
		if err != nil {
			return
		}
		response, err := t.send(command)
		if err != nil {
			return
		}
		if _, err := c.Write(response); err != nil {
			return
		}
	}
}

// count counts clients, and waits a while after the last one.
func (t *hostTPM) count(change int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.clients += change; t.clients == 0 {
		t.idle.Reset(swtpmIdle)
	}
}

func (t *hostTPM) send(command []byte) (response []byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == nil {
		if t.running, err = startEmulator(t.program, t.state); err != nil {
			return nil, err
		}
	}
	response, err = t.running.send(command)
	if err != nil {
		t.running.stop()
		t.running = nil
	}
	return response, err
}

// park stops an idle swtpm.
func (t *hostTPM) park() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running != nil && t.clients == 0 {
		t.running.stop()
		t.running = nil
	}
}
