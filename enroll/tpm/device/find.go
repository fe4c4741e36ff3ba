package device

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fleetctl/enroll/tpm/wire"
)

// Finder looks for the TPM that tbot would take. The zero value looks at this machine; tests set other directories.
type Finder struct {
	Sys string // default /sys/class/tpm
	Dev string // default /dev
}

// Find returns the device and where it was found (wire.FoundSysfs or wire.FoundDev). In sysfs it takes what tbot takes:
// the first TPM 2.0, its resource-managed device if it has one. Where sysfs shows no TPM, as in containers, but there is
// /dev/tpmrm0 or /dev/tpm0, it takes that.
func (f Finder) Find() (path, found string, err error) {
	sys, dev := f.Sys, f.Dev
	if sys == "" {
		sys = "/sys/class/tpm"
	}
	if dev == "" {
		dev = "/dev"
	}
	path, old, err := inSysfs(sys, dev)
	if err != nil || path != "" {
		return path, wire.FoundSysfs, err
	}
	if old != "" {
		return "", "", wire.NewError(wire.ErrTPM12, old, " is a TPM 1.2; look for an update of its firmware to 2.0")
	}
	for _, name := range []string{"tpmrm0", "tpm0"} {
		path := filepath.Join(dev, name)
		if _, err := os.Stat(path); err == nil {
			return path, wire.FoundDev, nil
		}
	}
	return "", "", wire.NewError(wire.ErrNoTPM,
		"the kernel shows none; is it enabled in the firmware, and its driver loaded (tpm_tis, tpm_crb)?")
}

// inSysfs returns the device of the first TPM 2.0 and, where there is none, the name of the first TPM 1.2.
func inSysfs(sys, dev string) (path, old string, err error) {
	entries, err := os.ReadDir(sys) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", wire.NewError(wire.ErrTPM, err.Error())
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "tpm") {
			continue
		}
		chip := filepath.Join(sys, e.Name())
		// The driver of a TPM 1.2 has a file "caps", the one of a 2.0 has not.
		if _, err := os.Stat(filepath.Join(chip, "caps")); err == nil {
			if old == "" {
				old = e.Name()
			}
			continue
		}
		managed, err := os.ReadDir(filepath.Join(chip, "device", "tpmrm"))
		if err == nil && len(managed) > 0 {
			return filepath.Join(dev, managed[0].Name()), "", nil
		}
		return filepath.Join(dev, e.Name()), "", nil
	}
	return "", old, nil
}
