package cluster

import (
	"errors"
	"fmt"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// Why a join is refused; Server.Refuse has the words.
var (
	ErrNoToken    = errors.New("token expired or not found")
	ErrLicence    = errors.New("no licence")
	ErrMethod     = errors.New("join method does not match the token")
	ErrEK         = errors.New("parsing EK")
	ErrNoEKCert   = errors.New("tpm did not provide an EKCert to validate against allowed CAs")
	ErrCA         = errors.New("verifying EK cert")
	ErrActivation = errors.New("asking client to perform credential activation")
	ErrSolution   = errors.New("invalid credential activation solution")
	ErrNoRule     = errors.New("validated tpm attributes did not match any allow rules")
)

// Refusal is why a join is refused, and what that was made of.
type Refusal struct {
	Why   error // one of the above
	Cause error // nil: nothing more to say
}

func (r *Refusal) Error() string {
	if r.Cause == nil {
		return r.Why.Error()
	}
	return fmt.Sprintf("%v: %v", r.Why, r.Cause)
}

// Unwrap returns both, so that errors.Is finds either.
func (r *Refusal) Unwrap() []error { return []error{r.Why, r.Cause} }

// newJoins is the first release whose server decides joins in lib/join, with other words for the EK. It is inferred
// (versions.md, D: "18.5+, I").
const newJoins = "18.5.0"

// Refuse is what a server says to a host that may not join. The texts, and which of them stand on lines of their own, are
// those of versions.md, D, and of the samples journal-*.txt. What is no Refusal is said as it is.
func (s Server) Refuse(err error, token string) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	switch {
	case errors.Is(r.Why, ErrNoToken):
		return fmt.Errorf("%q can not join the cluster with role \"Bot\", %w", token, ErrNoToken)
	case errors.Is(r.Why, ErrLicence):
		return errLicence()
	case errors.Is(r.Why, ErrNoRule):
		return ErrNoRule
	case s.V().Compare(versions.Must(newJoins)) >= 0:
		return newEKWords(r)
	}
	return cli.Wrap(oldEKWords(r), "validating TPM EK")
}

// oldEKWords are what lib/tpm/validate.go@52a41f12 says; sample journal-ekcert-chain-old.txt.
func oldEKWords(r *Refusal) error {
	switch {
	case errors.Is(r.Why, ErrNoEKCert):
		return cli.Wrap(r.Why, "%v", ErrCA)
	case errors.Is(r.Why, ErrCA):
		return cli.Wrap(cli.Wrap(r.Cause, "%v", ErrCA), "%v", ErrCA)
	}
	return causeBelow(r, r.Why.Error())
}

// newEKWords are what lib/join/tpmjoin/tpm.go@333f2322 says; sample journal-ekcert-chain-new.txt.
func newEKWords(r *Refusal) error {
	const head = "validating TPM: "
	switch {
	case errors.Is(r.Why, ErrNoEKCert):
		return cli.Wrap(r.Why, "%s%v", head, ErrCA)
	case errors.Is(r.Why, ErrCA):
		return fmt.Errorf("%s%w\n%w", head, ErrCA, cli.Wrap(r.Cause, "%v", ErrCA))
	}
	return causeBelow(r, head+r.Why.Error())
}

func causeBelow(r *Refusal, text string) error {
	if r.Cause == nil {
		return errors.New(text)
	}
	return cli.Wrap(r.Cause, "%s", text)
}
