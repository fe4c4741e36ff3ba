package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

// defaultTTL is how long tbot's credentials live where nothing else is set.
const defaultTTL = time.Hour

// clusterRules are the rules of one tpm token of the cluster.
type clusterRules struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		JoinMethod string `json:"join_method"`
		TPM        struct {
			Allow []clusterRule `json:"allow"`
		} `json:"tpm"`
	} `json:"spec"`
}

type clusterRule struct {
	Description string `json:"description"`
	EKHash      string `json:"ek_public_hash"`
	EKSerial    string `json:"ek_certificate_serial"`
}

// readBack reads all tokens of the cluster, ours and those of others, and notes each that admits a machine that goes, or
// may. It returns how many do. A token of ours that does is an error: somebody else wrote the rule, or took over the write.
func (r *removal) readBack(ctx context.Context) (open int, err error) {
	tokens, err := r.tpmTokens(ctx)
	if err != nil {
		r.Watcher.Note(ClusterSilent{About: AboutAdmitted, Err: err})
		return 1, context.Cause(ctx)
	}
	ours, known, err := r.ours(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, t := range tokens {
		for _, rule := range t.Spec.TPM.Allow {
			for _, a := range r.admitted(rule, known) {
				a.Token = remote.Clean(t.Metadata.Name)
				if slices.Contains(ours, t.Metadata.Name) && !a.May {
					errs = append(errs, a.failure())
					continue
				}
				r.Watcher.Note(a)
				open++
			}
		}
	}
	return open, errors.Join(errs...)
}

// tpmTokens are the tokens whose names are no secrets: an EK is proven, not told.
func (r *removal) tpmTokens(ctx context.Context) ([]clusterRules, error) {
	all, err := r.Cluster.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	var out []clusterRules
	for _, raw := range all {
		var t clusterRules
		if json.Unmarshal(raw, &t) != nil { // its words may be secrets
			return nil, errUnreadableToken
		}
		if t.Spec.JoinMethod == "tpm" {
			out = append(out, t)
		}
	}
	return out, nil
}

var errUnreadableToken = errors.New("a token of the cluster cannot be read")

// ours are the tokens of the records, and the EKs that they know.
func (r *removal) ours(ctx context.Context) (names []string, known map[string]bool, err error) {
	tokens, err := r.Store.Tokens(ctx)
	if err != nil {
		return nil, nil, err
	}
	names = []string{r.Config.Token.Name}
	for _, t := range tokens {
		names = append(names, t.Name)
	}
	for _, l := range r.leaving {
		names = append(names, l.rec.Token)
	}
	known = map[string]bool{}
	for m, err := range r.Store.Machines(ctx) {
		if err != nil {
			return nil, nil, err
		}
		known[m.EKHash] = true
	}
	return names, known, nil
}

// admitted says which of the machines that go a rule admits, or may admit.
func (r *removal) admitted(rule clusterRule, known map[string]bool) []StillAdmitted {
	var all []StillAdmitted
	for _, m := range r.machines() {
		switch {
		case rule.EKHash == m.EKHash:
			all = append(all, StillAdmitted{Host: m.Host, EKHash: m.EKHash})
		case rule.EKHash == "" && rule.EKSerial != "" && rule.EKSerial == m.EKSerial:
			all = append(all, StillAdmitted{Host: m.Host, EKHash: m.EKHash, May: true, Why: "by the serial of its EK certificate"})
		}
	}
	for _, l := range r.leaving {
		if len(l.eks) == 0 && !known[rule.EKHash] {
			all = append(all, StillAdmitted{Host: l.name, May: true, Why: "by a rule" + called(rule.Description) +
				" for an EK that the records don't know; they don't know the host's either"})
		}
	}
	return all
}

func called(description string) string {
	if text := strings.TrimSpace(remote.Clean(description)); text != "" {
		return fmt.Sprintf(" called %q", text)
	}
	return ""
}

// failure is a token of ours that admits a machine all the same.
func (a StillAdmitted) failure() error {
	return outcome.WithHint(fmt.Errorf("token %s still admits %s (EK %s): the cluster has a rule for it that these records did not write",
		a.Token, a.Host, a.EKHash), "take it out with tctl edit token/%s, or prune what others wrote, and remove %s again", a.Token, a.Host)
}

// end ends what was issued, where that was asked for, or says until when it lives. It returns how much could not be done.
func (r *removal) end(ctx context.Context, joins map[string]tctl.Join) (open int) {
	live := r.credentials(joins)
	if !r.opts.Lock {
		r.Watcher.Note(live)
		return 0
	}
	if joins == nil { // what they are was noted
		r.Watcher.Note(live)
		return 1
	}
	if !r.locksInstances(ctx) {
		live.NoLock = true
		r.Watcher.Note(live)
		return 0
	}
	var rest []HostInstance
	for _, i := range live.Instances {
		if err := r.Cluster.LockInstance(ctx, i.Instance, "removed by fleetctl: "+i.Host); err != nil {
			r.Watcher.Note(NotLocked{Instance: i, Err: err})
			rest = append(rest, i)
			continue
		}
		r.Watcher.Note(Locked{Instance: i})
	}
	if len(rest) > 0 {
		live.Instances = rest
		r.Watcher.Note(live)
	}
	return len(rest)
}

// locksInstances says whether the cluster can lock one bot instance alone. An older one could only lock the bot with all
// of its hosts, which nobody asked for.
func (r *removal) locksInstances(ctx context.Context) bool {
	text, err := r.Cluster.ClusterVersion(ctx)
	if err != nil {
		r.Watcher.Note(ClusterSilent{About: AboutVersion, Err: err})
		return true // then the lock itself says it
	}
	have, ok := versions.Parse(text)
	since, _ := versions.Parse("18.0.0")
	return !ok || have.Compare(since) >= 0
}
