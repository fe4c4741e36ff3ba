package report

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// Host is what a report says of a host.
type Host struct {
	records.View
	Listed   bool           `json:"in_inventory"`
	Message  string         `json:"last_message,omitempty"`
	Issuer   string         `json:"ek_certificate_issuer,omitempty"`   // of the accepted certificate: its common name, or all of it
	NotAfter time.Time      `json:"ek_certificate_not_after,omitzero"` // of the accepted certificate
	Tbot     string         `json:"tbot_version,omitempty"`
	Joined   time.Time      `json:"joined_at,omitzero"` // the latest join that is known
	Concerns []outcome.Code `json:"concerns,omitempty"` // what a person should look at

	messages map[outcome.Code]string // what was said of concerns
}

// expiresSoon is how long before its end a certificate is a concern.
const expiresSoon = 90 * 24 * time.Hour

// lastJoins are the latest joins that the cluster was seen to have, by EK hash.
func lastJoins(ctx context.Context, st store.Store) (map[string]time.Time, error) {
	joins := map[string]time.Time{}
	for m, err := range st.Machines(ctx) {
		if err != nil {
			return nil, err
		}
		if !m.LastJoin.IsZero() {
			joins[m.EKHash] = m.LastJoin
		}
	}
	return joins, nil
}

// hosts yields the hosts of records and inventory by name.
func hosts(ctx context.Context, src Source, joins map[string]time.Time) iter.Seq2[Host, error] {
	names := slices.Sorted(maps.Keys(namesOf(src.Inventory)))
	return func(yield func(Host, error) bool) {
		rest := names
		for d, err := range records.Details(ctx, src.Store, src.Inventory) {
			if err != nil {
				yield(Host{}, err)
				return
			}
			for len(rest) > 0 && rest[0] < d.Host {
				if !yield(notScanned(rest[0]), nil) {
					return
				}
				rest = rest[1:]
			}
			listed := len(rest) > 0 && rest[0] == d.Host
			if listed {
				rest = rest[1:]
			}
			h, err := src.host(ctx, d, listed, joins)
			if !yield(h, err) || err != nil {
				return
			}
		}
		for _, name := range rest {
			if !yield(notScanned(name), nil) {
				return
			}
		}
	}
}

func namesOf(inv []inventory.Host) map[string]bool {
	names := make(map[string]bool, len(inv))
	for _, h := range inv {
		names[h.Name] = true
	}
	return names
}

// notScanned is a host of the inventory that has no record.
func notScanned(name string) Host {
	return Host{
		View: records.View{Host: name, State: outcome.StateNoIdentity}, Listed: true, Concerns: []outcome.Code{outcome.NotScanned},
	}
}

// host is what is known of a host that has a record.
func (src Source) host(ctx context.Context, d records.Detail, listed bool, joins map[string]time.Time) (Host, error) {
	h := Host{View: d.View, Listed: listed, Joined: joins[d.EKHash], messages: map[outcome.Code]string{}}
	if a := d.Record.Accepted; a != nil && len(a.EKCert) > 0 {
		if cert, err := x509.ParseCertificate(a.EKCert); err == nil {
			h.Issuer, h.NotAfter = remote.Clean(cmp.Or(cert.Issuer.CommonName, cert.Issuer.String())), tpm.Date(cert.NotAfter)
		}
	}
	if l := d.Record.Last; l != nil {
		h.Message = l.Message
	}
	if h.TPM == nil {
		var err error
		if h.TPM, err = latestWords(ctx, src.Store, h.Host); err != nil {
			return Host{}, err
		}
	}
	if in := d.Record.Installed; in != nil {
		h.Tbot = in.TbotVersion
		if in.JoinedAt != nil && in.JoinedAt.After(h.Joined) {
			h.Joined = *in.JoinedAt
		}
	}
	h.look(src, d.Record)
	return h, nil
}

// look finds what a person should look at, the most pressing first.
func (h *Host) look(src Source, r store.Record) {
	if outcome.Lookup(h.State).Severity != outcome.Info {
		h.concern(h.State, "")
	}
	if o := outcome.Outcome(h.Outcome); o == outcome.Failed || o == outcome.Unreachable {
		h.concern(cmp.Or(outcome.Code(h.Status), outcome.General), h.Message)
	}
	if h.out() {
		return
	}
	if len(src.Inventory) > 0 && !h.Listed {
		h.concern(outcome.NotListed, "")
	}
	h.lookAtTPM(src)
	h.lookAtTbot(r.Installed)
}

// out says whether a person took the machine out: nobody expects it to join.
func (h *Host) out() bool {
	return h.State == outcome.StateDisabled || h.State == outcome.StateRemoved || h.State == outcome.StateReplaced
}

// lookAtTPM finds what will keep the host from joining, or may. What only a token minds that checks certificates, and none
// does, is no concern.
func (h *Host) lookAtTPM(src Source) {
	if h.TPM != nil {
		for _, f := range h.TPM.Findings {
			if f.Fatal || !f.CA {
				h.concern(outcome.Code(f.Code), f.Message)
			}
		}
	}
	if src.CAs == nil || h.NotAfter.IsZero() {
		return
	}
	switch left := h.NotAfter.Sub(src.Now); {
	case left < 0:
		h.concern(outcome.EKCertExpired, "")
	case left < expiresSoon:
		h.concern(outcome.CertExpires, "")
	}
}

// lookAtTbot finds what enroll has left to do.
func (h *Host) lookAtTbot(in *store.Installed) {
	switch {
	case in != nil && in.State == store.HostRemoving:
		h.concern(outcome.StateUndoPending, in.Step)
	case in != nil && in.State != "":
		h.concern(outcome.StateUnfinished, in.Step)
	case !h.Joined.IsZero() || h.EKHash == "":
	case in != nil:
		h.concern(outcome.NoJoinSeen, "")
	default:
		h.concern(outcome.StateNotEnrolled, "")
	}
}

func (h *Host) concern(code outcome.Code, message string) {
	if slices.Contains(h.Concerns, code) {
		return
	}
	h.Concerns = append(h.Concerns, code)
	h.messages[code] = message
}

// latestWords are what the TPM of a host said when it was asked last; a scan that fails hears nothing of it. nil: it never was.
func latestWords(ctx context.Context, st store.Store, host string) (*tpm.Details, error) {
	var words *tpm.Details
	for o, err := range st.History(ctx, host) {
		if err != nil {
			return nil, err
		}
		if len(o.TPM) > 0 {
			details := &tpm.Details{}
			if json.Unmarshal(o.TPM, details) == nil {
				words = details
			}
		}
	}
	return words, nil
}
