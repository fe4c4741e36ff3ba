package tbot

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/google/go-attestation/attest"
	"github.com/google/go-tpm/legacy/tpm2"
)

// channel gives go-attestation a TPM that it would not find itself.
type channel struct{ io.ReadWriteCloser }

// MeasurementLog is not needed to join.
func (channel) MeasurementLog() ([]byte, error) { return nil, errors.New("no measurement log") }

// openTPM opens the TPM: a device when one is named, else the first in sysfs, else /dev/tpmrm0, else /dev/tpm0. Its errors
// have no words of tbot's before them (versions.md, H; samples journal-no-tpm.txt, journal-tpm-denied.txt).
func openTPM(device string) (*attest.TPM, error) {
	if device != "" {
		return openDevice(device)
	}
	if found, _ := filepath.Glob("/sys/class/tpm/tpm*"); len(found) > 0 {
		return attest.OpenTPM(nil)
	}
	for _, device := range []string{"/dev/tpmrm0", "/dev/tpm0"} {
		tpm, err := openDevice(device)
		if !errors.Is(err, fs.ErrNotExist) {
			return tpm, err
		}
	}
	return nil, attest.ErrTPMNotAvailable
}

// openDevice opens a character device or a unix socket.
func openDevice(path string) (*attest.TPM, error) {
	rwc, err := dial(path)
	if err != nil {
		return nil, err
	}
	return attest.OpenTPM(&attest.OpenConfig{CommandChannel: channel{rwc}})
}

func dial(path string) (io.ReadWriteCloser, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return net.Dial("unix", path)
	}
	return tpm2.OpenTPM(path)
}

// presented is the identity that a TPM presents; it is what decides which rules match.
type presented struct {
	EKCert []byte // DER; nil without
	EKKey  []byte // PKIX DER; set without certificate
	Hash   string
	Serial string
}

// present reads the identity through go-attestation, as tbot does.
func present(tpm *attest.TPM) (presented, error) {
	eks, err := tpm.EKs()
	if err != nil {
		return presented{}, fmt.Errorf("querying EKs: %w", err)
	}
	if len(eks) == 0 {
		return presented{}, errors.New("no endorsement keys found in tpm")
	}
	der, err := x509.MarshalPKIXPublicKey(eks[0].Public)
	if err != nil {
		return presented{}, fmt.Errorf("marshaling EK: %w", err)
	}
	sum := sha256.Sum256(der)
	p := presented{EKKey: der, Hash: hex.EncodeToString(sum[:])}
	if cert := eks[0].Certificate; cert != nil {
		p.EKKey, p.EKCert, p.Serial = nil, cert.Raw, colons(cert.SerialNumber.Bytes())
	}
	return p, nil
}

// colons writes bytes as lower-case hex pairs joined by colons.
func colons(b []byte) string {
	s := ""
	for i, c := range b {
		if i > 0 {
			s += ":"
		}
		s += hex.EncodeToString([]byte{c})
	}
	return s
}
