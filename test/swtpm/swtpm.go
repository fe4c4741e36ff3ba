// Package swtpm makes and runs emulated TPMs with swtpm: with an EK certificate of a CA of ours or without, cloned, or
// with any bytes where the EK certificate should be.
package swtpm

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Packages that provide the programs, as apt knows them.
var Packages = []string{"swtpm", "swtpm-tools"}

// Find returns an error when the programs are not there.
func Find() error {
	for _, name := range []string{"swtpm", "swtpm_setup", "swtpm_localca"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w (apt-get install %s)", err, strings.Join(Packages, " "))
		}
	}
	return nil
}

// CA issues EK certificates.
type CA struct{ dir string }

// NewCA makes a CA in a directory of its own; its keys are made with the first certificate.
func NewCA(dir string) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	localca, err := exec.LookPath("swtpm_localca")
	if err != nil {
		return nil, err
	}
	files := map[string]string{
		"setup.conf": "create_certs_tool=" + localca + "\n" +
			"create_certs_tool_config=" + dir + "/localca.conf\n" +
			"create_certs_tool_options=" + dir + "/localca.options\nactive_pcr_banks=sha256\n",
		"localca.conf": "statedir=" + dir + "\nsigningkey=" + dir + "/signkey.pem\n" +
			"issuercert=" + dir + "/issuercert.pem\ncertserial=" + dir + "/certserial\n",
		"localca.options": "--platform-manufacturer Lab\n--platform-version 1.0\n--platform-model Host\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return &CA{dir: dir}, nil
}

// Issuer is the PEM file of the certificate that directly issues EK certificates.
func (ca *CA) Issuer() string { return filepath.Join(ca.dir, "issuercert.pem") }

// Root is the PEM file of the certificate above the issuer's.
func (ca *CA) Root() string { return filepath.Join(ca.dir, "swtpm-localca-rootca-cert.pem") }

// Make makes a TPM's state in dir with an EK (RSA-2048, persistent at 0x81010001) and its certificate. Certificates of
// one CA must be made one after the other. More options of swtpm_setup may follow, as --rsa-keysize 3072.
func (ca *CA) Make(ctx context.Context, dir, name string, options ...string) error {
	config := filepath.Join(ca.dir, "setup.conf")
	options = append([]string{"--create-ek-cert", "--lock-nvram", "--config", config, "--vmid", name}, options...)
	return setup(ctx, dir, options...)
}

// MakeBare makes a TPM's state in dir without EK certificate and without an EK that is persistent.
func MakeBare(ctx context.Context, dir string) error { return setup(ctx, dir) }

func setup(ctx context.Context, dir string, args ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	args = append([]string{"--tpm2", "--tpmstate", dir, "--overwrite", "--pcr-banks", "sha256"}, args...)
	out, err := exec.CommandContext(ctx, "swtpm_setup", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("swtpm_setup: %w\n%s", err, out)
	}
	return nil
}

// Clone copies a TPM's state: two TPMs with one EK.
func Clone(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	const state = "tpm2-00.permall" // what swtpm keeps across starts
	data, err := os.ReadFile(filepath.Join(from, state))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, state), data, 0o600)
}

// TPM is an emulated TPM that runs.
type TPM struct {
	Socket string // unix socket that takes TPM commands; one connection at a time
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start runs a TPM on the state in dir; its socket is dir/sock.
func Start(dir string) (*TPM, error) {
	socket := filepath.Join(dir, "sock")
	_ = os.Remove(socket)
	var said bytes.Buffer
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--flags", "startup-clear")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t := &TPM{Socket: socket, cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(t.exited)
	}()
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return t, conn.Close()
		}
		select {
		case <-t.exited:
			return nil, fmt.Errorf("swtpm did not start: %s", strings.TrimSpace(said.String()))
		case <-time.After(2 * time.Millisecond): // swtpm tells nobody when its socket listens
		}
	}
}

// Stop ends the TPM; its state stays.
func (t *TPM) Stop() {
	_ = t.cmd.Process.Signal(syscall.SIGTERM)
	<-t.exited
}

// ekCertIndex holds the RSA-2048 EK certificate (TCG EK Credential Profile, section 2.2.1.4).
const ekCertIndex = tpm2.TPMHandle(0x01C00002)

// nvChunk is how many bytes are read or written with one command; every TPM takes that many.
const nvChunk = 512

// ReadCert reads the bytes where the EK certificate is.
func (t *TPM) ReadCert() ([]byte, error) {
	var cert []byte
	err := t.with(func(tpm transport.TPM) error {
		pub, err := tpm2.NVReadPublic{NVIndex: ekCertIndex}.Execute(tpm)
		if err != nil {
			return err
		}
		contents, err := pub.NVPublic.Contents()
		if err != nil {
			return err
		}
		for len(cert) < int(contents.DataSize) {
			rsp, err := tpm2.NVRead{
				AuthHandle: tpm2.AuthHandle{Handle: ekCertIndex, Name: pub.NVName, Auth: tpm2.PasswordAuth(nil)},
				NVIndex:    tpm2.NamedHandle{Handle: ekCertIndex, Name: pub.NVName},
				Size:       uint16(min(nvChunk, int(contents.DataSize)-len(cert))),
				Offset:     uint16(len(cert)),
			}.Execute(tpm)
			if err != nil {
				return err
			}
			cert = append(cert, rsp.Data.Buffer...)
		}
		return nil
	})
	return cert, err
}

// WriteCert puts any bytes where the EK certificate is, as the platform's owner can.
func (t *TPM) WriteCert(data []byte) error {
	return t.with(func(tpm transport.TPM) error {
		platform := tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
		if pub, err := (tpm2.NVReadPublic{NVIndex: ekCertIndex}).Execute(tpm); err == nil {
			_, err := tpm2.NVUndefineSpace{
				AuthHandle: platform, NVIndex: tpm2.NamedHandle{Handle: ekCertIndex, Name: pub.NVName},
			}.Execute(tpm)
			if err != nil {
				return fmt.Errorf("undefine: %w", err)
			}
		}
		_, err := tpm2.NVDefineSpace{
			AuthHandle: platform,
			PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
				NVIndex: ekCertIndex,
				NameAlg: tpm2.TPMAlgSHA256,
				Attributes: tpm2.TPMANV{
					PPWrite: true, WriteAll: false, PPRead: true, OwnerRead: true, AuthRead: true, NoDA: true, PlatformCreate: true,
				},
				DataSize: uint16(len(data)),
			}),
		}.Execute(tpm)
		if err != nil {
			return fmt.Errorf("define: %w", err)
		}
		return writeNV(tpm, platform, data)
	})
}

func writeNV(tpm transport.TPM, auth tpm2.AuthHandle, data []byte) error {
	pub, err := tpm2.NVReadPublic{NVIndex: ekCertIndex}.Execute(tpm)
	if err != nil {
		return err
	}
	for off := 0; off < len(data); off += nvChunk {
		_, err := tpm2.NVWrite{
			AuthHandle: auth,
			NVIndex:    tpm2.NamedHandle{Handle: ekCertIndex, Name: pub.NVName},
			Data:       tpm2.TPM2BMaxNVBuffer{Buffer: data[off:min(off+nvChunk, len(data))]},
			Offset:     uint16(off),
		}.Execute(tpm)
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// with talks to the TPM over its socket.
func (t *TPM) with(fn func(transport.TPM) error) error {
	conn, err := net.Dial("unix", t.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	return fn(transport.FromReadWriter(conn))
}
