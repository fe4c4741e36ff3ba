package enroll

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
	"fleetctl/enroll/tpm"
)

// viaAdopt marks an identity that came from a rule in the cluster.
const viaAdopt = "adopted"

// adopt takes the rules that fleetctl did not write into the records, as unproven identities of hosts called like the
// rule's description. A rule cannot be taken over when it has no hash (a serial alone is
// never written), when a host of its name has another identity, or when its token checks certificates: a rule does not
// hold the certificate, so that only a scan can tell whether the host belongs there. A scanned host needs no adoption.
func (f Fleet) adopt(ctx context.Context, run int64, set *token.Set) error {
	d, err := set.Diff(ctx, *f.Cluster, token.DiffOptions{})
	if err != nil {
		return err
	}
	assign := map[string]string{}
	for _, c := range d.Tokens {
		for _, rule := range c.Foreign {
			why, err := f.adoptRule(ctx, run, c, rule)
			if err != nil {
				return err
			}
			if why != "" {
				f.Watcher.Note(RuleNotAdopted{Why: fmt.Sprintf("token %s: %s: %s", c.Name, rule, why)})
				continue
			}
			assign[hostOf(rule)] = c.Name
			f.Watcher.Note(RuleAdopted{Adoption{Host: hostOf(rule), Token: c.Name}})
		}
	}
	return f.Store.Assign(ctx, assign)
}

// hostOf is the name that an adopted rule's host gets.
func hostOf(f token.ForeignRule) string {
	if name := strings.TrimSpace(f.Description); name != "" {
		return name
	}
	return "adopted-" + f.EKHash[:12]
}

// adoptRule records one rule, or says why not.
func (f Fleet) adoptRule(ctx context.Context, run int64, c token.Change, rule token.ForeignRule) (string, error) {
	switch {
	case !store.ValidEKHash(rule.EKHash):
		return "it has no valid EKPub hash", nil
	case rule.EKSerial != "" && !tpm.ValidSerial(rule.EKSerial):
		return "its serial is not one that a TPM presents", nil
	case len(c.Cas) > 0:
		return "its token checks EK certificates: scan the host instead", nil
	}
	rec, err := f.Store.Record(ctx, hostOf(rule))
	switch {
	case err == nil && rec.Accepted != nil:
		return "a host of this name has another identity", nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return "", err
	}
	_, err = f.Store.Put(ctx, store.Observation{
		Host: hostOf(rule), Run: run, At: time.Now(), Outcome: string(outcome.OK), Status: string(outcome.Unproven),
		Message:  "adopted from token " + c.Name,
		Identity: &store.Identity{EKHash: rule.EKHash, EKSerial: rule.EKSerial, Via: viaAdopt},
	})
	return "", err
}
