package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// device is a character device that passes TPM commands on to an emulated TPM: a pseudo terminal in raw mode. Unlike a
// kernel's /dev/tpmrm0 it has no resource manager, and one process at a time must use it.
type device struct {
	Path   string // of the slave, /dev/pts/N
	master *os.File
	slave  *os.File
	holder *exec.Cmd
	socket func() string // where the TPM is now; "" while there is none
}

// newDevice makes a device that root alone may use. Commands go to the unix socket that socket returns at that time.
func newDevice(socket func() string) (*device, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	d := &device{Path: fmt.Sprintf("/dev/pts/%d", n), master: master, socket: socket}
	if d.slave, err = openRaw(d.Path); err != nil {
		return nil, err
	}
	if err := d.hold(); err != nil {
		return nil, err
	}
	go d.serve()
	return d, d.Reset()
}

// Reset gives the device the owner and the mode that a kernel gives it before udev comes.
func (d *device) Reset() error {
	return errors.Join(os.Chown(d.Path, 0, 0), os.Chmod(d.Path, 0o600))
}

// hold makes the terminal the controlling one of a process that does nothing. Else the first daemon that opens it would
// get it as its own, and the terminal would hang up when that daemon ends.
func (d *device) hold() error {
	d.holder = exec.Command("sleep", "infinity")
	d.holder.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	d.holder.ExtraFiles = []*os.File{d.slave}
	return d.holder.Start()
}

// Close removes the device.
func (d *device) Close() {
	_ = d.holder.Process.Kill()
	_ = d.holder.Wait()
	_ = d.slave.Close()
	_ = d.master.Close()
}

// serve passes commands and responses until the device is closed.
func (d *device) serve() {
	for {
		command, err := readFrame(d.master)
		if err != nil {
			return
		}
		response := d.ask(command)
		// What an earlier process has not read is not for this one.
		_ = unix.IoctlSetInt(int(d.slave.Fd()), unix.TCFLSH, unix.TCIFLUSH)
		if _, err := d.master.Write(response); err != nil {
			return
		}
	}
}

// tpmFailure is the response of a TPM in failure mode: TPM_RC_FAILURE (TPM 2.0 Part 2, section 6.6.3).
var tpmFailure = []byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 1}

// ask has the TPM run one command.
func (d *device) ask(command []byte) []byte {
	conn, err := net.Dial("unix", d.socket())
	if err != nil {
		return tpmFailure
	}
	defer conn.Close()
	if _, err := conn.Write(command); err != nil {
		return tpmFailure
	}
	response, err := readFrame(conn)
	if err != nil {
		return tpmFailure
	}
	return response
}

// readFrame reads one command or response: a tag of 2 bytes, the whole length in 4, a code of 4, big-endian (TPM 2.0
// Part 1, section 18).
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 4096)
	if _, err := io.ReadFull(r, frame[:10]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(frame[2:])
	if n < 10 || n > uint32(len(frame)) {
		return nil, fmt.Errorf("TPM frame of %d bytes", n)
	}
	_, err := io.ReadFull(r, frame[10:n])
	return frame[:n], err
}

// openRaw opens a terminal and takes all line discipline from it.
func openRaw(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return f, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}
