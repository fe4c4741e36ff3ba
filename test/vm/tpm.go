package vm

import (
	"net"

	"github.com/google/go-tpm/tpm2/transport"

	"fleetctl/test/swtpm"
	"fleetctl/test/vm/held"
)

// The interfaces of TPMs that QEMU emulates; the names are its devices'.
const (
	TIS = "tpm-tis" // TCG PC Client FIFO interface
	CRB = "tpm-crb" // command response buffer
)

// Off gives fn the machine's TPM, without the machine: it must be off.
func (m *Machine) Off(fn func(socket string) error) error {
	tpm, err := swtpm.Start(m.tpmDir())
	if err != nil {
		return err
	}
	defer tpm.Stop()
	return fn(tpm.Socket)
}

// Contents reads what the machine's TPM holds; the machine must be off.
func (m *Machine) Contents() (c held.Contents, err error) {
	err = m.Off(func(socket string) error {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		c, err = held.Read(transport.FromReadWriter(conn))
		return err
	})
	return c, err
}
