package fault

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestShortageIsTheMachinesOwn(t *testing.T) {
	t.Parallel()
	call := func(op string, errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Err: os.NewSyscallError(op, errno)}
	}
	fork := func(errno syscall.Errno) error {
		return &os.PathError{Op: "fork/exec", Path: "/usr/bin/ssh", Err: errno}
	}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"no descriptors":           {call("socket", syscall.EMFILE), true},
		"no files":                 {call("socket", syscall.ENFILE), true},
		"no buffers":               {call("connect", syscall.ENOBUFS), true},
		"no memory for a process":  {fork(syscall.ENOMEM), true},
		"no process":               {fork(syscall.EAGAIN), true},
		"a name, without files":    {&net.DNSError{Err: "dial udp: socket: too many open files", Name: "a"}, true},
		"wrapped":                  {fmt.Errorf("ssh -G: %w", &Error{Kind: ErrShortage, Err: errors.New("x")}), true},
		"what a host says":         {&Error{Kind: ErrBecome, Err: errors.New("sudo: too many open files")}, false},
		"nothing":                  {nil, false},
		"the other side refuses":   {call("connect", syscall.ECONNREFUSED), false},
		"nothing to read as yet":   {call("read", syscall.EAGAIN), false},
		"no such program":          {fork(syscall.ENOENT), false},
		"an address that is taken": {call("bind", syscall.EADDRINUSE), false},
	} {
		if got := Short(c.err); got != c.want {
			t.Errorf("%s: %v, want %v (%v)", name, got, c.want, c.err)
		}
	}
}
