package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-attestation/attest"
	"github.com/gravitational/teleport/api/types"

	"fleetctl/test/cluster"
)

// referenceEnv makes the test binary a program that does to a TPM what tbot does, with go-attestation. It is one process
// a TPM, as tbot is: go-attestation keeps the nonce of the first TPM that has one in a variable of the package.
const referenceEnv = "TPM_TEST_REFERENCE"

// errand is what the reference is to do.
type errand struct {
	Socket string
	Join   bool     // also join, with a token that has one rule
	Rule   string   // its EKPub hash
	CAs    []string // its ekcert_allowed_cas, PEM
	Now    time.Time
}

// reference is what came out.
type reference struct {
	Hash    string
	Serial  string
	Cert    bool
	Error   string // of EKs
	Refused string // of the join; "" when it was admitted
}

type channel struct{ net.Conn }

func (channel) MeasurementLog() ([]byte, error) { return nil, errors.New("no measurement log") }

func referenceMain() {
	var do errand
	var r reference
	err := json.Unmarshal([]byte(os.Getenv(referenceEnv)), &do)
	if err == nil {
		err = r.run(do)
	}
	if err != nil {
		r.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

func (r *reference) run(do errand) error {
	conn, err := net.Dial("unix", do.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	tpm, err := attest.OpenTPM(&attest.OpenConfig{CommandChannel: channel{conn}})
	if err != nil {
		return err
	}
	a, err := r.identify(tpm)
	if err != nil {
		return err
	}
	if do.Join {
		if err := join(tpm, a, do); err != nil {
			r.Refused = err.Error()
		}
	}
	return nil
}

func (r *reference) identify(tpm *attest.TPM) (cluster.Attestation, error) {
	var a cluster.Attestation
	eks, err := tpm.EKs()
	if err != nil {
		return a, err
	}
	a.EKKey, err = x509.MarshalPKIXPublicKey(eks[0].Public)
	if err != nil {
		return a, err
	}
	sum := sha256.Sum256(a.EKKey)
	r.Hash = hex.EncodeToString(sum[:])
	if c := eks[0].Certificate; c != nil {
		r.Cert, r.Serial, a.EKCert = true, cluster.Serial(c.SerialNumber), c.Raw
	}
	return a, nil
}

// join is what tbot and the server do together.
func join(tpm *attest.TPM, a cluster.Attestation, do errand) error {
	ak, err := tpm.NewAK(&attest.AKConfig{})
	if err != nil {
		return err
	}
	defer ak.Close(tpm)
	a.AK = ak.AttestationParameters()
	a.Activate = func(c attest.EncryptedCredential) ([]byte, error) { return ak.ActivateCredential(tpm, c) }
	token := &types.ProvisionTokenV2{Spec: types.ProvisionTokenSpecV2{
		JoinMethod: types.JoinMethodTPM,
		TPM: &types.ProvisionTokenSpecV2TPM{
			EKCertAllowedCAs: do.CAs,
			Allow:            []*types.ProvisionTokenSpecV2TPM_Rule{{EKPublicHash: do.Rule}},
		},
	}}
	_, err = cluster.Judge(token, a, do.Now)
	return err
}

// reference runs the reference on a TPM.
func (e *emulator) reference(t testing.TB, do errand) reference {
	t.Helper()
	do.Socket = e.Socket
	env, err := json.Marshal(do)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), referenceEnv+"="+string(env))
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
