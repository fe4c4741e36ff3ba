package tpm

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// labels are the words of tbot tpm identify, old and new, in front of ": ".
var labels = [...]struct{ hash, detected, serial string }{
	{"EKPub Hash", "EKCert Detected", "EKCert Serial"},
	{"EK Public Hash", "EK Certificate Detected", "EK Certificate Serial"},
}

// ParseIdentifyText parses what tbot tpm identify prints, in the words of old and new versions; other lines, such as log
// messages, are ignored. With --debug tbot prints the key and the certificate too: then these are taken, and must fit.
// The text says a host's identity without any proof. Errors are ErrProtocol.
func ParseIdentifyText(text []byte) (Identity, error) {
	if len(text) > maxIdentify {
		return Identity{}, &outputError{fmt.Errorf("tbot tpm identify: a text of more than %d bytes", maxIdentify)}
	}
	id, err := parseIdentifyText(string(text))
	if err != nil {
		return Identity{}, &outputError{fmt.Errorf("tbot tpm identify: %w", err)}
	}
	return id, nil
}

func parseIdentifyText(text string) (Identity, error) {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		label, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || !isLabel(label) {
			continue
		}
		if _, seen := fields[label]; seen {
			return Identity{}, fmt.Errorf("%q stands there twice", label)
		}
		fields[label] = strings.TrimSpace(value)
	}
	for _, l := range labels {
		if _, ok := fields[l.hash]; ok {
			id, err := identityOf(fields[l.hash], fields[l.detected], fields[l.serial])
			if err == nil {
				err = addDebug(&id, []byte(text))
			}
			return id, err
		}
	}
	return Identity{}, fmt.Errorf("no line %q or %q", labels[0].hash+": …", labels[1].hash+": …")
}

func isLabel(s string) bool {
	for _, l := range labels {
		if s == l.hash || s == l.detected || s == l.serial {
			return true
		}
	}
	return false
}

func identityOf(hash, detected, serial string) (Identity, error) {
	if sum, err := hex.DecodeString(hash); err != nil || len(sum) != sha256.Size || hash != strings.ToLower(hash) {
		return Identity{}, errors.New("the EK hash is not 64 lower-case hex digits")
	}
	switch {
	case detected == "true" && validSerial(serial):
	case detected == "false" && serial == "":
	case detected == "true":
		return Identity{}, errors.New("the serial is not pairs of lower-case hex digits with colons between")
	default:
		return Identity{}, errors.New("it is not clear whether there is an EK certificate")
	}
	return Identity{Hash: hash, Serial: serial}, nil
}

func validSerial(s string) bool {
	if s == "" || len(s) >= 3*maxSerial {
		return false
	}
	for pair := range strings.SplitSeq(s, ":") {
		if _, err := hex.DecodeString(pair); err != nil || len(pair) != 2 || pair != strings.ToLower(pair) {
			return false
		}
	}
	return true
}

// addDebug takes over the PEM blocks that tbot prints with --debug.
func addDebug(id *Identity, text []byte) error {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil
		}
		switch block.Type {
		case "PUBLIC KEY":
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			sum := sha256.Sum256(block.Bytes)
			if err != nil || hex.EncodeToString(sum[:]) != id.Hash {
				return errors.New("the public key does not have the hash that is printed")
			}
			id.PublicDER, id.KeyType = block.Bytes, KeyType(key)
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return fmt.Errorf("the certificate: %w", err)
			}
			certified, err := certifiedIdentity(cert)
			if err != nil || certified.Hash != id.Hash || certified.Serial != id.Serial {
				return errors.New("the certificate does not have the hash and the serial that are printed")
			}
			*id = certified
		}
	}
}

// outputError is an ErrProtocol in what was printed rather than spoken.
type outputError struct{ err error }

func (e *outputError) Error() string        { return e.err.Error() }
func (e *outputError) Unwrap() error        { return e.err }
func (e *outputError) Is(target error) bool { return target == ErrProtocol }
