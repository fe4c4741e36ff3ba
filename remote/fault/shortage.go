package fault

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
)

// Short says whether an error is of this machine, which lacks something that comes back: descriptors, memory, buffers,
// processes. Nothing about the other side can be learned from it.
func Short(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, ErrShortage), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS),
		errors.Is(err, syscall.ENOMEM):
		return true
	}
	var path *os.PathError
	if errors.As(err, &path) && path.Op == "fork/exec" && errors.Is(path.Err, syscall.EAGAIN) {
		return true
	}
	var name *net.DNSError // has no cause but its text, in which nothing of a host stands
	return errors.As(err, &name) &&
		(strings.Contains(name.Err, syscall.EMFILE.Error()) || strings.Contains(name.Err, syscall.ENFILE.Error()))
}
