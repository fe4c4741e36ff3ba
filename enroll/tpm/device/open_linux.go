package device

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fleetctl/enroll/tpm/wire"
)

const (
	busyLimit = 20 * time.Second // how long to wait for a device that somebody else holds
	// How long one command may take. The slowest seen is an RSA key generation: 17 s on real chips, so that something
	// is wrong long before this. On a socket it also bounds the wait for an emulator that serves somebody else.
	commandLimit = 3 * time.Minute
)

// File is an open TPM: a character device or a unix socket. It uses blocking system calls instead of os.File: the
// driver answers a non-blocking read before the TPM is done as if the file had ended.
type File struct {
	fd     int
	broken bool // an answer did not come whole: what comes next may belong to the command before
}

// Open opens a character device or connects to a unix socket. A device that somebody else holds is waited for.
func Open(ctx context.Context, path string) (*File, error) {
	begin := time.Now()
	for {
		fd, err := open(path)
		if err == nil {
			return &File{fd: fd}, nil
		}
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			return nil, err
		}
		if errno != syscall.EBUSY || time.Since(begin) > busyLimit {
			return nil, openError(path, errno)
		}
		if err := sleep(ctx, retryMost); err != nil {
			return nil, openError(path, errno)
		}
	}
}

func open(path string) (int, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return 0, err
	}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFCHR:
		return syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC|syscall.O_NOCTTY, 0)
	case syscall.S_IFSOCK:
		return connect(path)
	}
	return 0, wire.NewError(wire.ErrNoTPM, path, " is neither a character device nor a unix socket")
}

func connect(path string) (int, error) {
	if len(path) > 107 {
		return 0, wire.NewError(wire.ErrNoTPM, path, ": a unix socket's path has at most 107 bytes")
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		syscall.Close(fd)
		return 0, err
	}
	return fd, nil
}

func openError(path string, errno syscall.Errno) error {
	switch errno {
	case syscall.ENOENT, syscall.ENXIO, syscall.ENODEV, syscall.ECONNREFUSED, syscall.ENOTDIR:
		return wire.NewError(wire.ErrNoTPM, path, ": ", errno.Error())
	case syscall.EACCES, syscall.EPERM:
		return wire.NewError(wire.ErrPermission, path, ": ", errno.Error())
	case syscall.EBUSY:
		return wire.NewError(wire.ErrBusy, path, " is held by another process; it has no resource manager")
	}
	return wire.NewError(wire.ErrTPM, path, ": ", errno.Error())
}

// Close closes the TPM. A resource manager then flushes what is left.
func (f *File) Close() error { return syscall.Close(f.fd) }

// Send writes a command and reads the response.
func (f *File) Send(command []byte) ([]byte, error) {
	if f.broken {
		return nil, wire.NewError(wire.ErrTPM, "the device gave no whole answer before")
	}
	f.broken = true
	if err := f.write(command); err != nil {
		return nil, err
	}
	response, err := f.read()
	f.broken = err != nil
	return response, err
}

// write hands the TPM a command in one piece, as a character device needs it. EBUSY: an answer to another user of the
// same open file is pending.
func (f *File) write(command []byte) error {
	begin := time.Now()
	for len(command) > 0 {
		n, err := syscall.Write(f.fd, command)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EBUSY && time.Since(begin) < busyLimit:
			time.Sleep(retryFirst)
		case err != nil:
			return ioError(err)
		default:
			command = command[n:]
		}
	}
	return nil
}

// read reads one response. A character device hands it over whole, a socket or terminal perhaps in parts.
func (f *File) read() ([]byte, error) {
	buf := make([]byte, maxResponse)
	have, want := 0, headerSize
	deadline := time.Now().Add(commandLimit)
	for have < want {
		if err := f.wait(deadline); err != nil {
			return nil, err
		}
		n, err := syscall.Read(f.fd, buf[have:])
		if err == syscall.EINTR || err == syscall.EAGAIN {
			continue
		}
		if err != nil {
			return nil, ioError(err)
		}
		if n == 0 {
			return nil, wire.NewError(wire.ErrTPM, "the device ended in the middle of an answer")
		}
		have += n
		if have >= headerSize {
			size := reader{buf: buf[2:6]}
			want = int(size.u32())
		}
		if want < headerSize || want > maxResponse || have > want {
			return nil, wire.NewError(wire.ErrTPM, "the device's answer has a wrong length")
		}
	}
	return buf[:have], nil
}

func (f *File) wait(deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return wire.NewError(wire.ErrBusy, "no answer within ", commandLimit.String())
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return ioError(err)
		}
		if n > 0 {
			return nil // readable, hung up or failed: the read says which
		}
	}
}

func ioError(err error) error {
	kind := wire.ErrTPM
	switch {
	case errors.Is(err, syscall.EBUSY):
		kind = wire.ErrBusy
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		kind = wire.ErrPermission
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		kind = wire.ErrNoTPM
	}
	return wire.NewError(kind, "device: ", err.Error())
}
