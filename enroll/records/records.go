package records

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// View is a record as lists show it.
type View struct {
	Host         string       `json:"host"`
	State        outcome.Code `json:"state"`
	EKHash       string       `json:"ek_public_hash,omitempty"`
	EKSerial     string       `json:"ek_certificate_serial,omitempty"`
	Proven       bool         `json:"proven"`
	Via          string       `json:"via,omitempty"`
	Pending      string       `json:"pending_ek_public_hash,omitempty"`
	SharedBy     []string     `json:"shared_by,omitempty"`      // hosts with the same EK, at most ten of them
	SharedByMore int          `json:"shared_by_more,omitempty"` // how many more there are
	Token        string       `json:"token,omitempty"`
	Outcome      string       `json:"last_outcome,omitempty"`
	Status       string       `json:"last_status,omitempty"`
	Seen         time.Time    `json:"last_seen,omitzero"`
	Installed    bool         `json:"installed"`

	TPM *tpm.Details `json:"tpm,omitempty"`
}

// List yields every record by host name. The inventory (it may be nil) says which names are one machine.
func List(ctx context.Context, st store.Store, inv []inventory.Host) iter.Seq2[View, error] {
	return func(yield func(View, error) bool) {
		for d, err := range Details(ctx, st, inv) {
			if !yield(d.View, err) {
				return
			}
		}
	}
}

// Detail is a record as lists show it, with all of it.
type Detail struct {
	View
	Record store.Record
}

// Details is List with the whole record.
func Details(ctx context.Context, st store.Store, inv []inventory.Host) iter.Seq2[Detail, error] {
	return func(yield func(Detail, error) bool) {
		disputed, err := disputes(ctx, st, inv)
		if err != nil {
			yield(Detail{}, err)
			return
		}
		out, err := statesOut(ctx, st)
		if err != nil {
			yield(Detail{}, err)
			return
		}
		for r, err := range st.Records(ctx) {
			if err != nil {
				yield(Detail{}, err)
				return
			}
			v := viewOf(r, disputed)
			if state := out[v.EKHash]; state != "" && v.State != outcome.ChangedEK {
				v.State = state
			}
			if !yield(Detail{v, r}, nil) {
				return
			}
		}
	}
}

// statesOut are the states of machines that a person took out, by EK hash. What waits to be accepted is more pressing.
func statesOut(ctx context.Context, st store.Store) (map[string]outcome.Code, error) {
	codes := map[string]outcome.Code{
		store.Disabled: outcome.StateDisabled, store.Removed: outcome.StateRemoved, store.Replaced: outcome.StateReplaced,
	}
	out := map[string]outcome.Code{}
	for m, err := range st.Machines(ctx) {
		if err != nil {
			return nil, err
		}
		if code := codes[m.State]; code != "" {
			out[m.EKHash] = code
		}
	}
	return out, nil
}

// disputes maps each EK that different machines present to what they are to each other.
func disputes(ctx context.Context, st store.Store, inv []inventory.Host) (map[string]claim.Dispute, error) {
	duplicates, err := st.Duplicates(ctx)
	if err != nil {
		return nil, err
	}
	fleet := claim.FleetOf(inv)
	found := map[string]claim.Dispute{}
	for _, d := range duplicates {
		if fleet.Machines.Same(d.Hosts) {
			continue
		}
		if found[d.EKHash], err = claim.Of(ctx, st, d, fleet); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func viewOf(r store.Record, disputed map[string]claim.Dispute) View {
	v := View{Host: r.Host, Token: r.Token, Installed: r.Installed != nil}
	if a := r.Accepted; a != nil {
		v.EKHash, v.EKSerial, v.Proven, v.Via = a.EKHash, a.EKSerial, a.Proven, a.Via
		v.SharedBy, v.SharedByMore = disputed[a.EKHash].Others(r.Host)
	}
	if r.Pending != nil {
		v.Pending = r.Pending.EKHash
	}
	if l := r.Last; l != nil {
		v.Outcome, v.Status, v.Seen = l.Outcome, l.Status, l.At
		details := &tpm.Details{}
		if len(l.TPM) > 0 && json.Unmarshal(l.TPM, details) == nil {
			v.TPM = details
		}
	}
	v.State = stateOf(r, disputed)
	return v
}

// stateOf is the most pressing thing that can be said of a record.
func stateOf(r store.Record, disputed map[string]claim.Dispute) outcome.Code {
	switch {
	case r.Pending != nil:
		return outcome.ChangedEK
	case r.Accepted == nil:
		return outcome.StateNoIdentity
	}
	if d, ok := disputed[r.Accepted.EKHash]; ok && (!d.Holds(r.Host) || d.Alarm()) {
		return d.Reason(r.Host).Code
	}
	if !r.Accepted.Proven {
		return outcome.Unproven
	}
	return outcome.StateAccepted
}

// Forget drops hosts from the records: all of them or, when one is not there (ErrInput), none. The next tokens
// are made without them.
func Forget(ctx context.Context, st store.Store, hosts ...string) error {
	err := st.Forget(ctx, hosts...)
	if errors.Is(err, store.ErrNotFound) {
		return &outcome.InputError{Msg: err.Error(), Hint: "\"fleetctl records\" lists them; nothing was forgotten"}
	}
	return err
}

// Issuer is a certificate authority that issued EK certificates of the fleet.
type Issuer struct {
	Subject     string    `json:"subject"`
	Hosts       int       `json:"hosts"`
	InBundle    bool      `json:"in_bundle"`             // token.ekcert_cas has the very certificate that issued them
	Fingerprint string    `json:"fingerprint,omitempty"` // SHA-256 of the CA certificate, when it is in the bundle
	NotAfter    time.Time `json:"not_after,omitzero"`    // of the CA certificate
	Expired     bool      `json:"expired,omitempty"`
	URL         string    `json:"url,omitempty"` // where the EK certificates say that it can be fetched
}

// Issuers lists who issued the accepted EK certificates, those of most hosts first. cas may be nil.
func Issuers(ctx context.Context, st store.Store, cas *tpm.CASet, now time.Time) ([]Issuer, error) {
	found := map[string]*Issuer{}
	for r, err := range st.Records(ctx) {
		if err != nil {
			return nil, err
		}
		if r.Accepted == nil || len(r.Accepted.EKCert) == 0 {
			continue
		}
		cert, err := x509.ParseCertificate(r.Accepted.EKCert)
		if err != nil {
			continue // it was readable when it was recorded; then it has no issuer that can be named
		}
		key, s := issuerOf(cert, cas, now)
		if found[key] == nil {
			found[key] = s
		}
		found[key].Hosts++
		found[key].URL = cmp.Or(found[key].URL, s.URL)
	}
	list := make([]Issuer, 0, len(found))
	for _, key := range slices.Sorted(maps.Keys(found)) {
		list = append(list, *found[key])
	}
	slices.SortStableFunc(list, func(a, b Issuer) int {
		return cmp.Or(b.Hosts-a.Hosts, strings.Compare(a.Subject, b.Subject))
	})
	return list, nil
}

// issuerOf describes the issuer of a certificate, and returns what tells it from other issuers.
func issuerOf(cert *x509.Certificate, cas *tpm.CASet, now time.Time) (key string, s *Issuer) {
	s = &Issuer{Subject: remote.Clean(cert.Issuer.String())}
	if len(cert.IssuingCertificateURL) > 0 {
		s.URL = remote.Clean(cert.IssuingCertificateURL[0])
	}
	var ca *x509.Certificate
	if cas != nil {
		ca = cas.Issuer(cert)
	}
	if ca == nil {
		return string(cert.RawIssuer) + string(cert.AuthorityKeyId), s
	}
	s.InBundle, s.Fingerprint, s.NotAfter = true, tpm.Fingerprint(ca), tpm.Date(ca.NotAfter)
	s.Expired = now.After(ca.NotAfter)
	return s.Fingerprint, s
}
