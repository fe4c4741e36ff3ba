package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-attestation/attest"
)

// referenceEnv makes the test binary a program that asks go-attestation for a TPM's EK. It is one process a TPM, as
// tbot is: go-attestation keeps the nonce of the first TPM that has one in a variable of the package.
const referenceEnv = "TPM_TEST_REFERENCE_SOCKET"

// reference is what go-attestation's EKs says of a TPM.
type reference struct {
	Hash   string
	Serial string
	Cert   bool
	Error  string
}

type channel struct{ net.Conn }

func (channel) MeasurementLog() ([]byte, error) { return nil, errors.New("no measurement log") }

func referenceMain() {
	var r reference
	if err := r.fill(os.Getenv(referenceEnv)); err != nil {
		r = reference{Error: err.Error()}
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

func (r *reference) fill(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	tpm, err := attest.OpenTPM(&attest.OpenConfig{CommandChannel: channel{conn}})
	if err != nil {
		return err
	}
	eks, err := tpm.EKs()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(eks[0].Public)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(der)
	r.Hash = hex.EncodeToString(sum[:])
	if c := eks[0].Certificate; c != nil {
		r.Cert = true
		b := c.SerialNumber.Bytes()
		if len(b) == 0 {
			b = []byte{0}
		}
		for i, x := range b {
			if i > 0 {
				r.Serial += ":"
			}
			r.Serial += fmt.Sprintf("%02x", x)
		}
	}
	return nil
}

// ask runs the reference on a TPM.
func (e *emulator) reference(t testing.TB) reference {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), referenceEnv+"="+e.Socket)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("reference: %v\n%s", err, stderr.String())
	}
	var r reference
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("reference: %v\n%s", err, out)
	}
	return r
}
