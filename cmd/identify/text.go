//go:build linux

package main

import (
	"context"
	"errors"

	"fleetctl/enroll/tpm/device"
	"fleetctl/enroll/tpm/ekcert"
	"fleetctl/enroll/tpm/wire"
)

const hexDigits = "0123456789abcdef"

// identityText is what "tbot tpm identify" prints for the TPM.
func identityText(ctx context.Context, s *device.Session) ([]byte, error) {
	raw, err := s.Read(ctx, wire.ReadOptions{})
	if err != nil {
		return nil, err
	}
	cert, err := ekcert.Parse(raw.EKCert.Data)
	switch {
	case err == nil:
		return text(ctx, s, cert.PublicDER, cert.Serial)
	case errors.Is(err, ekcert.ErrUnsure):
		return nil, wire.NewError(wire.ErrTPM, err.Error(), "; use identify -json and fleetctl records import")
	case errors.Is(err, ekcert.ErrKeyUnreadable):
		return nil, wire.NewError(wire.ErrTPM, err.Error())
	}
	derived, err := s.Derive(ctx)
	if err != nil {
		return nil, err
	}
	if derived.Key.Code != 0 {
		return nil, &wire.CommandError{Command: wire.CCCreatePrimary, Code: derived.Key.Code}
	}
	modulus, exponent, err := device.RSAKey(derived.Key.Public)
	if err != nil {
		return nil, err
	}
	return text(ctx, s, ekcert.RSAPublicDER(modulus, exponent), nil)
}

// text has the TPM compute the hash: crypto/sha256 would make the helper 8 % larger.
func text(ctx context.Context, s *device.Session, publicDER, serial []byte) ([]byte, error) {
	hash, err := s.SHA256(ctx, publicDER)
	if err != nil {
		return nil, err
	}
	out := []byte("TPM Information\nEK Public Hash: ")
	for _, b := range hash {
		out = append(out, hexDigits[b>>4], hexDigits[b&0xf])
	}
	if serial == nil {
		return append(out, "\nEK Certificate Detected: false\n"...), nil
	}
	out = append(out, "\nEK Certificate Detected: true\nEK Certificate Serial: "...)
	for i, b := range serial {
		if i > 0 {
			out = append(out, ':')
		}
		out = append(out, hexDigits[b>>4], hexDigits[b&0xf])
	}
	return append(out, '\n'), nil
}

// factsJSON is everything that is known of the TPM, as one line. The EK is derived where the certificate does not settle
// the identity beyond doubt.
func factsJSON(ctx context.Context, s *device.Session) ([]byte, error) {
	raw, err := s.Read(ctx, wire.ReadOptions{})
	if err != nil {
		return nil, err
	}
	if _, err := ekcert.Parse(raw.EKCert.Data); err != nil {
		if raw.Derived, err = s.Derive(ctx); err != nil {
			return nil, err
		}
		raw.Timings = append(raw.Timings, s.Timings()...)
	}
	return wire.AppendJSON(nil, raw), nil
}
