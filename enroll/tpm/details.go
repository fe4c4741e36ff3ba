package tpm

import "regexp"

// Details is what records keep of a TPM besides its identity.
type Details struct {
	Properties
	Findings []Finding `json:"findings,omitempty"`
}

var serialFormat = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2})*$`)

// ValidSerial says whether a text is an EKCert serial in the form that Teleport compares: lower-case hex pairs with
// colons between them ("5e:cd:5f:8e").
func ValidSerial(s string) bool { return len(s) < 3*maxSerial && serialFormat.MatchString(s) }
