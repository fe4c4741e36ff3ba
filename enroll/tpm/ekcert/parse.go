package ekcert

import (
	"bytes"
	"time"
	"unicode/utf8"
)

// Object identifiers, content only.
const (
	oidRSA     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" // 1.2.840.113549.1.1.1
	oidECDSA   = "\x2a\x86\x48\xce\x3d\x02\x01"         // 1.2.840.10045.2.1
	oidDSA     = "\x2a\x86\x48\xce\x38\x04\x01"         // 1.2.840.10040.4.1
	oidEd25519 = "\x2b\x65\x70"                         // 1.3.101.112
	oidX25519  = "\x2b\x65\x6e"                         // 1.3.101.110
	oidAIA     = "\x2b\x06\x01\x05\x05\x07\x01\x01"     // 1.3.6.1.5.5.7.1.1
	oidCE      = "\x55\x1d"                             // 2.5.29: certificate extensions
)

// parser goes through a certificate (RFC 5280, section 4.1) with crypto/x509's checks.
type parser struct {
	bad    bool // crypto/x509 refuses it
	unsure bool // there is something that is not checked here
}

// fail notes that in has gone wrong.
func (p *parser) fail(in ...der) {
	for _, d := range in {
		p.bad = p.bad || d.bad
	}
}

func (p *parser) require(ok bool) { p.bad = p.bad || !ok }

func (p *parser) certificate(content []byte) *Certificate {
	cert := der{buf: content}
	tbs := der{buf: cert.get(tagSequence)}
	outer := cert.get(tagSequence)
	version := p.version(&tbs)
	serial := tbs.get(tagInteger)
	p.require(minimal(serial) && serial[0]&0x80 == 0)
	inner := tbs.get(tagSequence)
	p.require(bytes.Equal(inner, outer))
	p.algorithm(inner)
	p.name(tbs.get(tagSequence))
	p.validity(tbs.get(tagSequence))
	p.name(tbs.get(tagSequence))
	public := p.publicKey(tbs.get(tagSequence))
	if version > 1 {
		p.tail(&tbs, version)
	}
	// crypto/x509 looks at the signature's encoding too.
	p.bitString(cert.get(tagBitString))
	p.fail(cert, tbs)
	if p.bad {
		return nil
	}
	return &Certificate{PublicDER: public, Serial: trim(serial)}
}

func (p *parser) version(tbs *der) int {
	if tbs.peek() != tagContext0 {
		return 1
	}
	field := der{buf: tbs.get(tagContext0)}
	v := field.get(tagInteger)
	p.require(minimal(v) && len(v) == 1 && v[0] <= 2 && len(field.buf) == 0)
	p.fail(field)
	if p.bad {
		return 1
	}
	return int(v[0]) + 1
}

// algorithm checks an AlgorithmIdentifier and returns its OID and its parameters, whole.
func (p *parser) algorithm(content []byte) (oid string, params []byte) {
	in := der{buf: content}
	oid = p.oid(in.get(tagOID))
	if len(in.buf) > 0 {
		before := in.buf
		in.any()
		params = before[:len(before)-len(in.buf)]
	}
	p.fail(in)
	return oid, params
}

func (p *parser) name(content []byte) {
	rdns := der{buf: content}
	for rdns.more() {
		set := der{buf: rdns.get(tagSet)}
		for set.more() {
			attribute := der{buf: set.get(tagSequence)}
			p.oid(attribute.get(tagOID))
			tag, value := attribute.any()
			p.fail(attribute)
			if !p.bad {
				p.text(tag, value)
			}
		}
		p.fail(set)
	}
	p.fail(rdns)
}

// text checks the strings of a name.
func (p *parser) text(tag byte, value []byte) {
	switch tag {
	case tagT61:
	case tagPrintable:
		p.require(all(value, printable))
	case tagUTF8:
		p.require(utf8.Valid(value))
	case tagIA5:
		p.require(all(value, ascii))
	case tagNumeric:
		p.require(all(value, func(c byte) bool { return c >= '0' && c <= '9' || c == ' ' }))
	case tagBMP:
		p.require(validBMP(value))
	default:
		p.bad = true
	}
}

func (p *parser) validity(content []byte) {
	in := der{buf: content}
	for range 2 {
		switch tag, value := in.any(); tag {
		case tagUTCTime:
			p.require(sameTime("060102150405Z0700", string(value)) || sameTime("0601021504Z0700", string(value)))
		case tagGeneralizedTime:
			p.require(sameTime("20060102150405Z0700", string(value)))
		default:
			p.bad = true
		}
	}
	p.fail(in)
}

// sameTime says whether a time is in the layout, in its canonical form.
func sameTime(layout, value string) bool {
	t, err := time.Parse(layout, value)
	return err == nil && t.Format(layout) == value
}

// publicKey returns the PKIX DER of an RSA key, or nil where crypto/x509 gives no key.
func (p *parser) publicKey(content []byte) []byte {
	in := der{buf: content}
	oid, params := p.algorithm(in.get(tagSequence))
	bits := p.bitString(in.get(tagBitString))
	p.fail(in)
	switch oid {
	case oidRSA:
		return p.rsaKey(params, bits)
	case oidECDSA, oidDSA, oidEd25519, oidX25519:
		p.unsure = true
	}
	return nil
}

func (p *parser) rsaKey(params, bits []byte) []byte {
	p.require(bytes.Equal(params, []byte{tagNull, 0}))
	in := der{buf: bits}
	key := der{buf: in.get(tagSequence)}
	n, e := key.get(tagInteger), key.get(tagInteger)
	p.fail(in, key)
	p.require(positive(n) && positive(e) && len(e) <= 8)
	if p.bad {
		return nil
	}
	return rsaPublicDER(n, e)
}

func positive(b []byte) bool { return minimal(b) && b[0]&0x80 == 0 && (len(b) > 1 || b[0] != 0) }

// bitString checks the content of a BIT STRING and returns its bits, aligned to the right.
func (p *parser) bitString(content []byte) []byte {
	if len(content) == 0 {
		p.bad = true
		return nil
	}
	padding, bits := content[0], content[1:]
	if padding > 7 || len(bits) == 0 && padding != 0 || len(bits) > 0 && bits[len(bits)-1]&(1<<padding-1) != 0 {
		p.bad = true
		return nil
	}
	if padding == 0 {
		return bits
	}
	out := make([]byte, len(bits))
	var carry byte
	for i, b := range bits {
		out[i] = carry<<(8-padding) | b>>padding
		carry = b
	}
	return out
}

// oid checks the content of an OBJECT IDENTIFIER.
func (p *parser) oid(content []byte) string {
	p.require(len(content) > 0)
	var v uint32
	start, size := true, 0
	for _, b := range content {
		p.require(!(start && b == 0x80) && size < 5 && v < 1<<24)
		v, size, start = v<<7|uint32(b&0x7f), size+1, b&0x80 == 0
		if start {
			v, size = 0, 0
		}
	}
	p.require(start)
	return string(content)
}

// tail checks what follows the key: unique identifiers and extensions.
func (p *parser) tail(tbs *der, version int) {
	for _, tag := range []byte{tagContext1Primitive, tagContext2Primitive} {
		if tbs.peek() == tag {
			tbs.get(tag)
		}
	}
	if version != 3 || tbs.peek() != tagContext3 {
		return
	}
	outer := der{buf: tbs.get(tagContext3)}
	list := der{buf: outer.get(tagSequence)}
	seen := map[string]bool{}
	for list.more() {
		ext := der{buf: list.get(tagSequence)}
		oid := p.oid(ext.get(tagOID))
		critical := false
		if ext.peek() == tagBoolean {
			critical = p.boolean(&ext)
		}
		value := ext.get(tagOctetString)
		p.fail(ext)
		p.require(!seen[oid])
		seen[oid] = true
		if !p.bad {
			p.extension(oid, critical, value)
		}
	}
	p.fail(outer, list)
}

func (p *parser) boolean(in *der) bool {
	v := in.get(tagBoolean)
	p.require(len(v) == 1 && (v[0] == 0 || v[0] == 0xff))
	return !p.bad && v[0] == 0xff
}
