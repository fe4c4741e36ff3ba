package records

import (
	"encoding/base64"
	"strconv"
	"time"

	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// ExportHeader has the names of what ExportCells returns.
func ExportHeader() []string {
	return []string{
		"host", "state", "ek_public_hash", "ek_certificate_serial", "proven", "via", "pending_ek_public_hash", "token",
		"last_outcome", "last_status", "last_seen", "manufacturer", "vendor", "firmware", "spec_revision", "key_type",
		"ek_certificate_issuer", "ek_certificate_not_after", "tbot_version", "ek_certificate",
	}
}

// ExportCells is a record for a spreadsheet: the accepted identity and what a TPM says of itself. The certificate is base64 of
// DER, times are RFC 3339; other binary and nested things are left out.
func ExportCells(r store.Record) []string {
	v := viewOf(r, nil)
	d := v.TPM
	if d == nil {
		d = &tpm.Details{}
	}
	var cert, tbot string
	if r.Accepted != nil {
		cert = base64.StdEncoding.EncodeToString(r.Accepted.EKCert)
	}
	if r.Installed != nil {
		tbot = r.Installed.TbotVersion
	}
	return []string{
		v.Host, string(v.State), v.EKHash, v.EKSerial, strconv.FormatBool(v.Proven), v.Via, v.Pending, v.Token,
		v.Outcome, v.Status, csvTime(v.Seen), d.Manufacturer, d.Vendor, d.Firmware,
		d.SpecRevision, d.KeyType, d.EKCertIssuer, csvTime(d.EKCertNotAfter), tbot, cert,
	}
}

// CSVCell keeps a spreadsheet from reading a host's text as a formula (OWASP, "CSV Injection").
func CSVCell(s string) string {
	if s != "" && (s[0] == '=' || s[0] == '+' || s[0] == '-' || s[0] == '@' || s[0] == '\t' || s[0] == '\r') {
		return "'" + s
	}
	return s
}

func csvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
