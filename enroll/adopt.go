package enroll

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/enroll/tpm"
)

// Adopted is what Adopt did.
type Adopted struct {
	Hosts []Adoption `json:"hosts"`
	Left  []string   `json:"left,omitempty"` // rules that cannot be taken over, and why
}

// Adoption is a rule of the cluster that became a record.
type Adoption struct {
	Host  string `json:"host"`
	Token string `json:"token"`
}

// ViaAdopt marks an identity that came from a rule in the cluster.
const ViaAdopt = "adopted"

// Adopt takes the rules that fleetctl did not write into the records, as unproven identities of hosts called like
// the rule's description. A rule cannot be taken over when it has no hash (a serial alone is never written), when a
// host of its name has another identity, or when its token checks certificates: a rule does not hold the
// certificate, so that only a scan can tell whether the host belongs there. A scanned host needs no adoption.
func Adopt(ctx context.Context, s *token.Set, cluster tctl.Tctl, st store.Store, run int64) (done Adopted, err error) {
	d, err := s.Diff(ctx, cluster, token.DiffOptions{})
	if err != nil {
		return done, err
	}
	assign := map[string]string{}
	for _, c := range d.Tokens {
		for _, f := range c.Foreign {
			why, err := adoptRule(ctx, st, run, c, f)
			if err != nil {
				return done, err
			}
			if why != "" {
				done.Left = append(done.Left, fmt.Sprintf("token %s: %s: %s", c.Name, f, why))
				continue
			}
			assign[hostOf(f)] = c.Name
			done.Hosts = append(done.Hosts, Adoption{Host: hostOf(f), Token: c.Name})
		}
	}
	return done, st.Assign(ctx, assign)
}

// hostOf is the name that an adopted rule's host gets.
func hostOf(f token.ForeignRule) string {
	if name := strings.TrimSpace(f.Description); name != "" {
		return name
	}
	return "adopted-" + f.EKHash[:12]
}

// adoptRule records one rule, or says why not.
func adoptRule(
	ctx context.Context, st store.Store, run int64, c token.Change, f token.ForeignRule,
) (string, error) {
	switch {
	case !store.ValidEKHash(f.EKHash):
		return "it has no valid EKPub hash", nil
	case f.EKSerial != "" && !tpm.ValidSerial(f.EKSerial):
		return "its serial is not one that a TPM presents", nil
	case len(c.Cas) > 0:
		return "its token checks EK certificates: scan the host instead", nil
	}
	rec, err := st.Record(ctx, hostOf(f))
	switch {
	case err == nil && rec.Accepted != nil:
		return "a host of this name has another identity", nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return "", err
	}
	_, err = st.Put(ctx, store.Observation{
		Host: hostOf(f), Run: run, At: time.Now(), Outcome: string(outcome.OK), Status: string(outcome.Unproven),
		Message:  "adopted from token " + c.Name,
		Identity: &store.Identity{EKHash: f.EKHash, EKSerial: f.EKSerial, Via: ViaAdopt},
	})
	return "", err
}
