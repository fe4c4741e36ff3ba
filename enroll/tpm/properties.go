package tpm

import (
	"fmt"
	"strings"
	"time"

	"fleetctl/enroll/tpm/wire"
)

// Properties describe the chip and its EK certificate. All of it is the host's word, made printable.
type Properties struct {
	Manufacturer   string    `json:"manufacturer,omitempty"`  // "IFX", "INTC", "AMD", "STM", "NTC", "IBM"…
	Vendor         string    `json:"vendor,omitempty"`        // the vendor strings, joined
	Firmware       string    `json:"firmware,omitempty"`      // major.minor[.build]
	SpecRevision   string    `json:"spec_revision,omitempty"` // "1.38"
	Device         string    `json:"device,omitempty"`        // "/dev/tpmrm0"
	Found          string    `json:"found,omitempty"`         // how: sysfs, dev, option, remote
	KeyType        string    `json:"key_type,omitempty"`      // of the EK
	EKCertIssuer   string    `json:"ek_certificate_issuer,omitempty"`
	EKCertNotAfter time.Time `json:"ek_certificate_not_after,omitzero"`
}

// TPM_PT properties (TPM 2.0 Part 2, section 6.13).
const (
	ptRevision     = 0x102
	ptManufacturer = 0x105
	ptVendorFirst  = 0x106
	ptVendorLast   = 0x109
	ptFirmware1    = 0x10B
	ptFirmware2    = 0x10C
	ptPermanent    = 0x200
	ptStartupClear = 0x201
)

const maxPropertyText = 256

func newProperties(raw *Raw, id Identity) Properties {
	p := Properties{
		Device:  wire.Printable(raw.Device, maxPropertyText),
		Found:   wire.Printable(raw.Found, maxPropertyText),
		KeyType: id.KeyType,
	}
	if v, ok := property(raw, ptManufacturer); ok {
		p.Manufacturer = propertyText(v)
	}
	for tag := uint32(ptVendorFirst); tag <= ptVendorLast; tag++ {
		v, _ := property(raw, tag)
		p.Vendor += propertyText(v)
	}
	p.Vendor = strings.TrimSpace(p.Vendor)
	if v, ok := property(raw, ptRevision); ok {
		p.SpecRevision = fmt.Sprintf("%d.%02d", v/100, v%100)
	}
	p.Firmware = firmware(raw)
	if c := id.Certificate; c != nil {
		p.EKCertIssuer = wire.Printable(c.Issuer.String(), maxPropertyText)
		p.EKCertNotAfter = Date(c.NotAfter)
	}
	return p
}

// Years that a date can be written with (RFC 3339), in UTC: an offset leads out of them (GeneralizedTime, X.690 section 11.7).
var firstDate, lastDate = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Date is a certificate's date in UTC, as JSON can have it: what lies before the year 0 or after 9999 is the nearest date that
// can. No other date is changed.
func Date(t time.Time) time.Time {
	switch t = t.UTC(); {
	case t.Before(firstDate):
		return firstDate
	case t.After(lastDate):
		return lastDate
	}
	return t
}

// firmware writes TPM_PT_FIRMWARE_VERSION_1 as major.minor and, where it is not zero, _2 behind it in the same way.
func firmware(raw *Raw) string {
	v1, ok := property(raw, ptFirmware1)
	if !ok {
		return ""
	}
	out := fmt.Sprintf("%d.%d", v1>>16, v1&0xFFFF)
	if v2, _ := property(raw, ptFirmware2); v2 != 0 {
		out += fmt.Sprintf(".%d.%d", v2>>16, v2&0xFFFF)
	}
	return out
}

func property(raw *Raw, tag uint32) (uint32, bool) {
	for _, p := range raw.Properties {
		if p.Tag == tag {
			return p.Value, true
		}
	}
	return 0, false
}

// propertyText reads a property as four characters, padded with NUL or space.
func propertyText(v uint32) string {
	text := string([]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	return wire.Printable(strings.TrimRight(text, "\x00 "), 4)
}
