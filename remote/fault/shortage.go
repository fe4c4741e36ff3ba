package fault

import (
	"errors"
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
	// Errors of names have no cause but their text.
	return strings.Contains(err.Error(), syscall.EMFILE.Error()) || strings.Contains(err.Error(), syscall.ENFILE.Error())
}
