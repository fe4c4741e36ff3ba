// Package cabundle finds the certificates in a file as people have it: PEM of every dialect, bare base64, DER and
// PKCS#7, in UTF-8 or UTF-16. It owns one promise: whatever looks like a certificate is either handed out or named with
// its place and the reason why not. What a certificate says, and whether crypto/x509 takes it, it does not know.
package cabundle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Part is a thing that was found in a file: a certificate, or something that was left out.
type Part struct {
	Line   int    // where it begins, from 1; 0 in a binary file
	Offset int    // in a binary file, the byte where it begins, from 0
	DER    []byte // one ASN.1 element that should be a certificate; nil: left out
	Reason string // why it was left out; printable ASCII
}

// Read finds all parts of a file, in their order. A file without any has none.
func Read(data []byte) []Part {
	if text, ok := decodeUTF16(data); ok {
		return readText(text)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !isBinary(data) {
		return readText(string(data))
	}
	return readBinary(data)
}

// isBinary goes by the control characters: a certificate in DER has some in its first bytes (tags and lengths), text has
// none but white space.
func isBinary(data []byte) bool {
	return bytes.ContainsFunc(data, func(r rune) bool { return r < '\t' || r > '\r' && r < ' ' && r != 0x1a && r != 0x1b })
}

// decodeUTF16 decodes text with a byte order mark, or whose first character is ASCII (RFC 2781, section 4.3).
func decodeUTF16(data []byte) (string, bool) {
	var order binary.ByteOrder
	switch {
	case len(data) < 4:
		return "", false
	case data[0] == 0xff && data[1] == 0xfe, data[0] != 0 && data[1] == 0 && data[2] != 0 && data[3] == 0:
		order = binary.LittleEndian
	case data[0] == 0xfe && data[1] == 0xff, data[0] == 0 && data[1] != 0 && data[2] == 0 && data[3] != 0:
		order = binary.BigEndian
	default:
		return "", false
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	text := strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff")
	return text, strings.Contains(text, "-----BEGIN ") || !strings.ContainsRune(text, 0)
}

// readBinary reads elements that follow one another, and text where there is some behind them.
func readBinary(data []byte) []Part {
	var out []Part
	for rest := data; ; {
		at := Part{Offset: len(data) - len(rest)}
		if len(bytes.Trim(rest, "\x00\xff \t\r\n")) == 0 {
			return out
		}
		e, next, ok := readElement(rest)
		if !ok || e.tag != tagSequence {
			return append(out, readRest(data, at)...)
		}
		if !certificateShape(e) && !isPKCS7(e) {
			at.Reason = "an ASN.1 structure that is no certificate"
			out = append(out, at)
		} else {
			out = append(out, unpack(e.raw, "", at)...)
		}
		rest = next
	}
}

// readRest reads what is no element, from at on. Lines are counted from the start of the file, as an editor does.
func readRest(data []byte, at Part) []Part {
	rest := data[at.Offset:]
	switch {
	case bytes.Contains(rest, []byte("-----BEGIN ")):
		out := readText(string(rest))
		for i := range out {
			out[i].Line += bytes.Count(data[:at.Offset], []byte("\n"))
		}
		return out
	case rest[0] == tagSequence:
		at.Reason = "damaged: " + cutOff(rest)
	case at.Offset > 0:
		at.Reason = fmt.Sprintf("%d bytes that are no certificate", len(rest))
	default:
		return nil
	}
	return []Part{at}
}

// unpack takes the certificates out of one structure: a certificate, with or without OpenSSL's trust settings behind it,
// or PKCS#7. at is where it was found.
func unpack(data []byte, label string, at Part) []Part {
	e, rest, ok := readElement(data)
	if !ok || e.tag != tagSequence {
		at.Reason = "damaged: " + cutOff(data)
		return []Part{at}
	}
	var out []Part
	if isPKCS7(e) {
		out = signedCertificates(e, at)
	} else {
		out = []Part{{Line: at.Line, Offset: at.Offset, DER: e.raw}}
	}
	if len(rest) > 0 && (label != labelTrusted || rest[0] != tagSequence) {
		at.Reason = fmt.Sprintf("%d bytes after the certificate", len(rest))
		out = append(out, at)
	}
	return out
}
