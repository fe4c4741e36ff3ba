package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fleetctl/enroll/config"
)

// setStat reads "640 root teleport" and, where size isn't nil, a size after it.
func setStat(v string, mode *uint32, owner, group *string, size *int64) error {
	fields := strings.Fields(v)
	want := 3
	if size != nil {
		want = 4
	}
	if len(fields) != want {
		return errors.New("not mode, owner and group")
	}
	m, err := strconv.ParseUint(fields[0], 8, 16)
	if err != nil {
		return err
	}
	*mode, *owner, *group = uint32(m), fields[1], fields[2]
	if size != nil {
		*size, err = strconv.ParseInt(fields[3], 10, 64)
	}
	return err
}

func setNumber(v string, to *int) (err error) {
	*to, err = strconv.Atoi(v)
	return err
}

func setTruth(v string, to *bool) error {
	*to = v == "1"
	if !*to {
		return errors.New("not 1")
	}
	return nil
}

func setPath(v string, to *string) error {
	if !cleanPath(v) {
		return errors.New("not a clean absolute path")
	}
	*to = v
	return nil
}

func setWord(v string, to *string, allowed ...string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("none of %s", strings.Join(allowed, ", "))
	}
	*to = v
	return nil
}

// cleanPath says whether a host's path is one that we handle.
func cleanPath(p string) bool { return config.Path(p).Check() == nil }

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
