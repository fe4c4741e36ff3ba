package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// checkFree refuses a file system that is full or read-only. statfs(2) says the first also where a quota doesn't; the
// write that follows finds the rest.
func checkFree(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil //nolint:nilerr // a system that cannot tell is no reason to stop: writing will tell
	}
	if free := st.Bavail * uint64(st.Bsize); free < minFree { //nolint:gosec // the block size is positive
		return fmt.Errorf("%w: %d KB are free on the file system of %s, %d KB are needed", ErrNoSpace,
			free>>10, dir, minFree>>10)
	}
	return nil
}
