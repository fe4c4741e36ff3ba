package cabundle

import (
	"bytes"
	"fmt"
)

// Tags (ITU-T X.690, section 8.1.2).
const (
	tagInteger   = 0x02
	tagBitString = 0x03
	tagOID       = 0x06
	tagSequence  = 0x30
	tagContext0  = 0xa0 // constructed
	tagContext1  = 0xa1
)

// maxDepth bounds nested elements of indefinite length; PKCS#7 has about ten.
const maxDepth = 32

// element is one BER element.
type element struct {
	tag          byte
	content, raw []byte // raw: with tag and length
}

// readElement reads the first element of b. BER's indefinite length (ITU-T X.690, section 8.1.3.6) is taken too, because
// PKCS#7 may have it.
func readElement(b []byte) (e element, rest []byte, ok bool) { return readNested(b, 0) }

func readNested(b []byte, depth int) (e element, rest []byte, ok bool) {
	if depth > maxDepth || len(b) < 2 || b[0]&0x1f == 0x1f {
		return e, nil, false
	}
	if b[1] == 0x80 {
		return readIndefinite(b, depth)
	}
	size, head, ok := readLength(b)
	if !ok || size > len(b)-head {
		return e, nil, false
	}
	return element{b[0], b[head : head+size], b[:head+size]}, b[head+size:], true
}

func readIndefinite(b []byte, depth int) (e element, rest []byte, ok bool) {
	for rest = b[2:]; ; {
		if bytes.HasPrefix(rest, []byte{0, 0}) {
			end := len(b) - len(rest)
			return element{b[0], b[2:end], b[:end+2]}, rest[2:], true
		}
		if _, rest, ok = readNested(rest, depth+1); !ok {
			return e, nil, false
		}
	}
}

// readLength reads the length of an element: how long its content is, and its head.
func readLength(b []byte) (size, head int, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	if b[1] < 0x80 {
		return int(b[1]), 2, true
	}
	n := int(b[1] & 0x7f)
	if n == 0 || n > 3 || len(b) < 2+n {
		return 0, 0, false
	}
	for _, c := range b[2 : 2+n] {
		size = size<<8 | int(c)
	}
	return size, 2 + n, true
}

// cutOff says why something is no whole element.
func cutOff(b []byte) string {
	size, head, ok := readLength(b)
	if ok && b[0] == tagSequence && size > len(b)-head {
		return fmt.Sprintf("the certificate is cut off: it should have %d bytes and has %d", head+size, len(b))
	}
	return "what it holds is no ASN.1 sequence"
}

// children returns what a constructed element holds, as far as it can be read.
func children(content []byte) []element {
	var out []element
	for len(content) > 0 {
		e, rest, ok := readElement(content)
		if !ok {
			return out
		}
		out, content = append(out, e), rest
	}
	return out
}

func hasTags(elements []element, tags ...byte) bool {
	if len(elements) < len(tags) {
		return false
	}
	for i, tag := range tags {
		if elements[i].tag != tag {
			return false
		}
	}
	return true
}

// certificateShape tells a certificate (RFC 5280, section 4.1) from keys, requests and revocation lists.
func certificateShape(e element) bool {
	outer := children(e.content)
	if e.tag != tagSequence || !hasTags(outer, tagSequence, tagSequence, tagBitString) {
		return false
	}
	tbs := children(outer[0].content)
	return hasTags(tbs, tagContext0, tagInteger) || hasTags(tbs, tagInteger, tagSequence, tagSequence, tagSequence)
}

// oidPKCS7 is 1.2.840.113549.1.7; signedData is .2 below it (RFC 2315, section 14).
const oidPKCS7 = "\x2a\x86\x48\x86\xf7\x0d\x01\x07"

func isPKCS7(e element) bool {
	outer := children(e.content)
	return e.tag == tagSequence && hasTags(outer, tagOID) && bytes.HasPrefix(outer[0].content, []byte(oidPKCS7))
}

// signedCertificates takes the certificates out of a ContentInfo with SignedData (RFC 2315, sections 7 and 9.1; RFC
// 5652, section 5.1). Nothing is verified: it is a box.
func signedCertificates(e element, at Part) []Part {
	outer := children(e.content)
	if string(outer[0].content) != oidPKCS7+"\x02" || !hasTags(outer, tagOID, tagContext0) {
		at.Reason = "PKCS#7 of a type that holds no certificates"
		return []Part{at}
	}
	var out []Part
	if data := children(outer[1].content); hasTags(data, tagSequence) {
		for _, field := range children(data[0].content) {
			out = append(out, boxed(field, at)...)
		}
	}
	if len(out) == 0 {
		at.Reason = "PKCS#7 without certificates"
		out = append(out, at)
	}
	return out
}

// boxed reads one field of SignedData: certificates and revocation lists are of interest.
func boxed(field element, at Part) []Part {
	var out []Part
	for _, c := range children(field.content) {
		p := Part{Line: at.Line, Offset: at.Offset}
		switch {
		case field.tag == tagContext0 && c.tag == tagSequence:
			p.DER = c.raw
		case field.tag == tagContext0:
			p.Reason = "an attribute certificate in PKCS#7"
		case field.tag == tagContext1:
			p.Reason = "a revocation list in PKCS#7, no certificate"
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}
