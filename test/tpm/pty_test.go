package tpm_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// characterDevice puts an emulator behind a character device, as a kernel would: a raw terminal whose other end is passed
// on to the emulator's socket, framed by the TPM's headers. Like a real one it lets one command be in flight.
func (e *emulator) characterDevice(t testing.TB) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		lacks(t, "no terminals here: %v", err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/pts/%d", number)
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0) // kept open: without a user the master would hang up
	if err != nil {
		t.Fatal(err)
	}
	makeRaw(t, int(slave.Fd()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for passOne(master, e.Socket) == nil {
		}
	}()
	t.Cleanup(func() {
		slave.Close()
		master.Close()
		<-done
	})
	return path
}

func makeRaw(t testing.TB, fd int) {
	t.Helper()
	attr, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	attr.Iflag, attr.Oflag, attr.Lflag = 0, 0, 0
	attr.Cflag = attr.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	attr.Cc[unix.VMIN], attr.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, attr); err != nil {
		t.Fatal(err)
	}
}

// passOne hands on a command and its response. It connects for each, so that others get at the emulator in between.
func passOne(master io.ReadWriter, socket string) error {
	command, err := readFrame(master)
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(command); err != nil {
		return err
	}
	response, err := readFrame(conn)
	if err != nil {
		return err
	}
	_, err = master.Write(response)
	return err
}

func readFrame(from io.Reader) ([]byte, error) {
	head := make([]byte, 10)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	size := int(head[2])<<24 | int(head[3])<<16 | int(head[4])<<8 | int(head[5])
	if size < len(head) || size > 8192 {
		return nil, fmt.Errorf("frame of %d bytes", size)
	}
	frame := append(head, make([]byte, size-len(head))...)
	_, err := io.ReadFull(from, frame[10:])
	return frame, err
}
