package tpm

import (
	"bytes"
	"errors"

	"github.com/google/go-tpm/tpm2"

	"fleetctl/enroll/tpm/wire"
)

// Finding is one reason why a join will or may fail.
type Finding struct {
	Code    string `json:"code"`         // stable, e.g. "ekcert-mismatch", "owner-auth", "no-ekcert", "issuer-unknown"
	Fatal   bool   `json:"fatal"`        // the join will fail, not only may
	CA      bool   `json:"ca,omitempty"` // only with a token that has ekcert_allowed_cas
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// Bits of TPMA_PERMANENT and TPMA_STARTUP_CLEAR (TPM 2.0 Part 2, sections 8.6 and 8.7).
const (
	permanentOwnerAuth       = 1 << 0
	permanentEndorsementAuth = 1 << 1
	permanentInLockout       = 1 << 9

	startupOwnerEnabled       = 1 << 1
	startupEndorsementEnabled = 1 << 2
)

// forecast says what in the TPM will keep tbot from joining with this identity. A join makes an attestation key below
// the key at 0x81000001 and activates a credential with the key at 0x81010001; tbot persists either where it is absent,
// which takes an owner hierarchy without password.
func forecast(raw *Raw, id Identity, identityErr error) []Finding {
	var out []Finding
	out = append(out, identityFindings(raw, identityErr)...)
	out = append(out, hierarchyFindings(raw)...)
	if id.Hash == "" {
		return out
	}
	out = append(out, ekFindings(raw, id)...)
	out = append(out, srkFindings(raw)...)
	return append(out, keyFindings(id.PublicDER)...)
}

func identityFindings(raw *Raw, err error) []Finding {
	var out []Finding
	cert, _, certErr := parseEKCert(raw.EKCert.Data)
	switch {
	case certErr == nil && errors.Is(err, ErrIdentity):
		out = append(out, Finding{
			Code: "ekcert-key-unreadable", Fatal: true,
			Message: "tbot cannot read the key in the EK certificate (" + keyAlgorithm(cert) + ")",
			Hint:    "such a host cannot join by the tpm method; use another join method for it",
		})
	case certErr != nil && len(raw.EKCert.Data) > 0:
		out = append(out, Finding{
			Code: "ekcert-unparseable",
			Message: "what is at 0x01C00002 is no certificate that tbot can parse, it presents the bare EK: " +
				wire.Printable(certErr.Error(), 160),
			Hint: "the host joins by its EK hash; a token with ekcert_allowed_cas will not admit it",
		})
	case certErr != nil && raw.EKCert.Defined && raw.EKCert.Code != 0:
		out = append(out, Finding{
			Code:    "ekcert-unreadable",
			Message: "the EK certificate's NV index cannot be read: " + wire.CodeName(raw.EKCert.Code),
			Hint:    "the host joins by its EK hash; a token with ekcert_allowed_cas will not admit it",
		})
	}
	return out
}

func hierarchyFindings(raw *Raw) []Finding {
	var out []Finding
	permanent, _ := property(raw, ptPermanent)
	startup, known := property(raw, ptStartupClear)
	if known && startup&startupEndorsementEnabled == 0 {
		out = append(out, Finding{
			Code: "endorsement-disabled", Fatal: true,
			Message: "the endorsement hierarchy is disabled",
			Hint:    "enable it in the firmware's TPM settings and reboot",
		})
	}
	if permanent&permanentEndorsementAuth != 0 {
		out = append(out, Finding{
			Code: "endorsement-auth", Fatal: true,
			Message: "the endorsement hierarchy has a password; tbot uses the empty one",
			Hint:    "clear it: tpm2_changeauth -c endorsement -p PASSWORD",
		})
	}
	if permanent&permanentInLockout != 0 {
		out = append(out, Finding{
			Code:    "lockout",
			Message: "the TPM is in lockout after failed authorizations; a join needs none that counts, but some chips refuse more",
			Hint:    "wait until it has passed, or clear it: tpm2_dictionarylockout -c",
		})
	}
	return append(out, ownerFindings(raw, permanent, !known || startup&startupOwnerEnabled != 0)...)
}

// ownerFindings matter where tbot has something to persist.
func ownerFindings(raw *Raw, permanent uint32, enabled bool) []Finding {
	missing := missingHandles(raw)
	switch {
	case !enabled:
		return []Finding{{
			Code: "owner-disabled", Fatal: true,
			Message: "the owner hierarchy is disabled",
			Hint:    "enable it in the firmware's TPM settings and reboot",
		}}
	case permanent&permanentOwnerAuth != 0 && missing != "":
		return []Finding{{
			Code: "owner-auth", Fatal: true,
			Message: "the owner hierarchy has a password, and tbot has to persist " + missing + " with the empty one",
			Hint:    "clear it (tpm2_changeauth -c owner -p PASSWORD) or persist the keys with it (tpm2_createek, tpm2_evictcontrol)",
		}}
	}
	return nil
}

func missingHandles(raw *Raw) string {
	ek, srk := len(raw.EK.Public) == 0, len(raw.SRK.Public) == 0
	switch {
	case ek && srk:
		return "the EK (0x81010001) and the SRK (0x81000001)"
	case ek:
		return "the EK (0x81010001)"
	case srk:
		return "the SRK (0x81000001)"
	}
	return ""
}

// ekFindings judge the key that tbot will activate the server's credential with.
func ekFindings(raw *Raw, id Identity) []Finding {
	key, persistent := raw.EK.Public, len(raw.EK.Public) > 0
	if !persistent {
		key = raw.Derived.Key.Public
	}
	if len(key) == 0 {
		return nil // nothing is persistent, and nothing had to be derived
	}
	ek, err := parsePublic(key)
	if err != nil || !bytes.Equal(ek.der, id.PublicDER) {
		return []Finding{mismatch(raw, id, persistent)}
	}
	if checkEK(ek.area) != nil || !activatable(ek.area) {
		return []Finding{{
			Code: "ek-parameters", Fatal: true,
			Message: "the EK at 0x81010001 is not made from the default template (policy, name algorithm or cipher differ)",
			Hint:    "evict it, so that tbot makes the default one: tpm2_evictcontrol -C o -c 0x81010001",
		}}
	}
	return nil
}

func mismatch(raw *Raw, id Identity, persistent bool) Finding {
	derived, err := parsePublic(raw.Derived.Key.Public)
	holdsEK := err == nil && bytes.Equal(derived.der, id.PublicDER)
	if persistent && (holdsEK || id.Certificate == nil) {
		return Finding{
			Code: "ek-handle", Fatal: true,
			Message: "the key at 0x81010001 is not the EK that tbot presents, and tbot activates with it",
			Hint:    "evict it, so that tbot makes the default one: tpm2_evictcontrol -C o -c 0x81010001",
		}
	}
	return Finding{
		Code: "ekcert-mismatch", Fatal: true,
		Message: "the EK certificate is not for this TPM's EK",
		Hint:    "ask the manufacturer for a firmware update that repairs the certificate, or use another join method",
	}
}

// activatable says whether a key opens what Teleport's server makes: SHA-256 and AES-128-CFB throughout, and tbot's
// session, which satisfies PolicyA and nothing else.
func activatable(area tpm2.TPMTPublic) bool {
	if area.NameAlg != tpm2.TPMAlgSHA256 || !bytes.Equal(area.AuthPolicy.Buffer, defaultPolicy()) {
		return false
	}
	var sym tpm2.TPMTSymDefObject
	if p, err := area.Parameters.RSADetail(); err == nil {
		if p.Scheme.Scheme != tpm2.TPMAlgNull {
			return false
		}
		sym = p.Symmetric
	} else if p, err := area.Parameters.ECCDetail(); err == nil {
		sym = p.Symmetric
	}
	return isAES128CFB(sym)
}

func isAES128CFB(sym tpm2.TPMTSymDefObject) bool {
	bits, err := sym.KeyBits.AES()
	if sym.Algorithm != tpm2.TPMAlgAES || err != nil || *bits != 128 {
		return false
	}
	mode, err := sym.Mode.AES()
	return err == nil && *mode == tpm2.TPMAlgCFB
}

func defaultPolicy() []byte { return tpm2.RSAEKTemplate.AuthPolicy.Buffer }

// srkFindings judge the key below which tbot makes its attestation key.
func srkFindings(raw *Raw) []Finding {
	if len(raw.SRK.Public) == 0 {
		return nil
	}
	srk, err := parsePublic(raw.SRK.Public)
	if err == nil {
		a := srk.area.ObjectAttributes
		if a.Restricted && a.Decrypt && !a.SignEncrypt && a.FixedTPM && a.FixedParent && a.UserWithAuth {
			return nil
		}
	}
	return []Finding{{
		Code: "srk", Fatal: true,
		Message: "the key at 0x81000001 is not a storage root key that tbot could make its attestation key under",
		Hint:    "move it away: tpm2_evictcontrol -C o -c 0x81000001",
	}}
}
