package tpm

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"fleetctl/enroll/tpm/wire"
)

// maxIdentify bounds one line of identify -json and one text of tbot tpm identify, in bytes.
const maxIdentify = 256 << 10

// Bounds of what a line may list.
const (
	maxListed = 1024
	maxBlob   = 16 << 10
)

// hexBytes are bytes that stand in JSON as lower-case hex.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if len(text) > 2*maxBlob {
		return errors.New("too long")
	}
	raw, err := hex.DecodeString(text)
	*h = raw
	return err
}

type jsonArea struct {
	Code       uint32   `json:"code"`
	Defined    bool     `json:"defined"`
	Attributes uint32   `json:"attributes"`
	Data       hexBytes `json:"data"`
}

func (a jsonArea) area() wire.Area {
	return wire.Area{Code: a.Code, Defined: a.Defined, Attributes: a.Attributes, Data: a.Data}
}

type jsonKey struct {
	Code   uint32   `json:"code"`
	Public hexBytes `json:"public"`
	Name   hexBytes `json:"name"`
}

func (k jsonKey) key() wire.Key { return wire.Key{Code: k.Code, Public: k.Public, Name: k.Name} }

// jsonFacts is the line that wire.AppendJSON writes.
type jsonFacts struct {
	Version    int         `json:"fleetctl_identify"`
	Host       string      `json:"host"` // whoever collects lines of many hosts may add it: the name in the inventory
	Hostname   string      `json:"hostname"`
	Device     string      `json:"device"`
	Found      string      `json:"found"`
	Properties [][2]uint32 `json:"properties"`
	NVIndices  []uint32    `json:"nv_indices"`
	Persistent []uint32    `json:"persistent"`
	EKCert     jsonArea    `json:"ek_certificate"`
	EK         jsonKey     `json:"ek"`
	SRK        jsonKey     `json:"srk"`
	EKNonce    jsonArea    `json:"ek_nonce"`
	DerivedEK  jsonKey     `json:"derived_ek"`
	Timings    [][2]uint32 `json:"timings_us"`
}

// Facts is what a line of identify -json says.
type Facts struct {
	Host string // the key "host", which identify does not write; printable, perhaps empty
	Raw  *Raw   // for Judge
}

// ParseIdentifyJSON parses one line of identify -json. A key "host" with the name of the host may have been added.
// Errors are ErrProtocol.
func ParseIdentifyJSON(line []byte) (Facts, error) {
	f, err := decodeFacts(line)
	if err != nil {
		return Facts{}, &outputError{fmt.Errorf("identify -json: %w", err)}
	}
	return Facts{Host: wire.Printable(f.Host, maxPropertyText), Raw: f.raw()}, nil
}

func decodeFacts(line []byte) (*jsonFacts, error) {
	if len(line) > maxIdentify {
		return nil, fmt.Errorf("a line of more than %d bytes", maxIdentify)
	}
	var f jsonFacts
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	if f.Version != wire.JSONVersion {
		return nil, fmt.Errorf("fleetctl_identify is %d, not %d", f.Version, wire.JSONVersion)
	}
	if max(len(f.Properties), len(f.NVIndices), len(f.Persistent), len(f.Timings)) > maxListed {
		return nil, fmt.Errorf("a list of more than %d entries", maxListed)
	}
	return &f, nil
}

func (f *jsonFacts) raw() *Raw {
	r := &Raw{
		Device: f.Device, Found: f.Found, Hostname: wire.Printable(f.Hostname, maxPropertyText),
		NVIndices: f.NVIndices, Persistent: f.Persistent,
		EKCert: f.EKCert.area(), EK: f.EK.key(), SRK: f.SRK.key(),
		Derived: wire.Derived{Nonce: f.EKNonce.area(), Key: f.DerivedEK.key()},
	}
	for _, p := range f.Properties {
		r.Properties = append(r.Properties, wire.Property{Tag: p[0], Value: p[1]})
	}
	for _, t := range f.Timings {
		r.Timings = append(r.Timings, wire.Timing{Command: t[0], Took: time.Duration(t[1]) * time.Microsecond})
	}
	return r
}
