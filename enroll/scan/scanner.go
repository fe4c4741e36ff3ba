package scan

import (
	"context"
	"io/fs"
	"time"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tpm"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
)

// Options of Scan.
type Options struct {
	work.Reach
	work.Run // with a store
	Ask

	CAs      *tpm.CASet // of ekcert_cas; nil without
	HashOnly bool       // hosts whose EKCert does not verify get a hash-only token: that is no failure
	Undated  bool       // the clock can't be right: dates of certificates are not judged

	Now   func() time.Time // when certificates have to be valid; nil: now
	Names claim.Fleet      // what the whole inventory says of names: which are one machine, which have left it

	Expected func(inventory.Host, outcome.Result) outcome.Result // a result as it counts by what the inventory expects; nil: as it is
}

// Ask says how TPMs are asked.
type Ask struct {
	Helpers    fs.FS  // identify-linux-ARCH.gz
	Via        string // ViaHelper (default), ViaShell or ViaTbot
	Compare    bool   // ask the host's tbot, too, and compare
	KeepHelper bool   // leave the helper on the hosts, for the next scan
	Proof      bool   // credential activation

	// TPM asks the TPM of a host in another way than over its connection, and says what it is; nil: Via says how.
	TPM func(context.Context, inventory.Host, tpm.ExamineOptions) (*tpm.Report, error)
}

type scanner struct {
	Options
	helpers *helpers
}

// sighting is what one host's TPM said.
type sighting struct {
	report *tpm.Report
	via    string
}

// question is what askTPM has to know.
type question struct {
	host   inventory.Host
	probe  probe
	device string
	become bool
}

// The ways to ask a TPM.
const (
	ViaHelper = "helper" // pushed, run, removed
	ViaShell  = "shell"  // TPM commands through sh and dd on the host
	ViaTbot   = "tbot"   // the tbot that is installed there; unproven
)
