package enroll

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// ErrPolicy is a policy that nobody has confirmed.
var ErrPolicy = errors.New("the policy has changed")

// policy is what decides over the tokens of a whole fleet: a change of it is confirmed by a person, once.
type policy struct {
	Token       string   `json:"token"`
	Kind        string   `json:"kind"`
	Bot         string   `json:"bot"`
	Proxy       string   `json:"proxy"`
	CAs         []string `json:"cas"` // fingerprints (SHA-256), sorted
	WithoutCert string   `json:"without_ekcert"`
}

// policy is that of fleet.yaml.
func (f Fleet) policy() (p policy, err error) {
	c := f.Config
	p = policy{Token: c.Token.Name, Kind: c.Token.Kind, Bot: c.Bot.Name, WithoutCert: c.Token.WithoutEKCert,
		Proxy: cmp.Or(c.Cluster.ProxyServer, c.Cluster.AuthServer)}
	if len(c.Token.EKCertCAs) == 0 {
		p.WithoutCert = "" // it says nothing
		return p, nil
	}
	set, err := tpm.LoadCAs(c.Token.EKCertCAs...)
	if err != nil {
		return p, c.ErrorAt("token.ekcert_cas", "", "%v", err)
	}
	p.CAs = set.Fingerprints()
	return p, nil
}

// changes says in words what differs from another policy.
func (p policy) changes(was policy) []string {
	var said []string
	say := func(what, was, now string) {
		if was != now {
			said = append(said, fmt.Sprintf("%s: %s → %s", what, cmp.Or(was, "none"), cmp.Or(now, "none")))
		}
	}
	say("token.name", was.Token, p.Token)
	say("token.kind", was.Kind, p.Kind)
	say("bot.name", was.Bot, p.Bot)
	say("cluster", was.Proxy, p.Proxy)
	say("token.without_ekcert", was.WithoutCert, p.WithoutCert)
	if !slices.Equal(was.CAs, p.CAs) {
		gone, come := lacking(was.CAs, p.CAs), lacking(p.CAs, was.CAs)
		said = append(said, fmt.Sprintf("token.ekcert_cas: %d certificates → %d (%d gone, %d new)", len(was.CAs), len(p.CAs), gone, come))
	}
	return said
}

// lacking counts what b has not.
func lacking(a, b []string) (n int) {
	for _, s := range a {
		if !slices.Contains(b, s) {
			n++
		}
	}
	return n
}

// confirmPolicy asks for a person's word where the policy is not that which was confirmed last.
func (f Fleet) confirmPolicy(bound store.Bound, now policy, opts TokensOptions) error {
	if bound.Policy == nil {
		return nil
	}
	var was policy
	if err := json.Unmarshal(bound.Policy, &was); err != nil {
		return fmt.Errorf("the policy in the records: %w", err)
	}
	said := now.changes(was)
	if len(said) == 0 {
		return nil
	}
	f.Watcher.Note(PolicyChanges{Changes: said})
	const question = "the policy of the whole fleet has changed; go on with the new one?"
	if opts.AcceptPolicy || opts.Check || f.Confirm != nil && f.Confirm(question) {
		return nil
	}
	return outcome.Mark(&outcome.InputError{Msg: "the policy of the whole fleet has changed: " + strings.Join(said, "; ")}, ErrPolicy)
}
