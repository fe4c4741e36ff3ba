package ekcert

// Tags (ITU-T X.690, section 8.1.2).
const (
	tagBoolean         = 0x01
	tagInteger         = 0x02
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagNull            = 0x05
	tagOID             = 0x06
	tagUTF8            = 0x0c
	tagNumeric         = 0x12
	tagPrintable       = 0x13
	tagT61             = 0x14
	tagIA5             = 0x16
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagBMP             = 0x1e
	tagSequence        = 0x30
	tagSet             = 0x31

	tagContext0          = 0xa0 // constructed
	tagContext3          = 0xa3
	tagContext0Primitive = 0x80
	tagContext1Primitive = 0x81
	tagContext2Primitive = 0x82
	tagContext6Primitive = 0x86
)

// der reads DER elements, with the strictness of x/crypto/cryptobyte. After the first one that is malformed or not what
// was asked for it is bad and gives nothing.
type der struct {
	buf []byte
	bad bool
}

// more says whether there is anything left to read.
func (d *der) more() bool { return !d.bad && len(d.buf) > 0 }

// peek returns the next tag, or 0.
func (d *der) peek() byte {
	if d.more() {
		return d.buf[0]
	}
	return 0
}

// get returns the content of the next element, which must have this tag.
func (d *der) get(tag byte) []byte {
	got, content := d.any()
	if got != tag {
		d.bad = true
	}
	if d.bad {
		return nil
	}
	return content
}

// any returns the next element: its tag and its content.
func (d *der) any() (byte, []byte) {
	if d.bad || len(d.buf) < 2 || d.buf[0]&0x1f == 0x1f {
		d.bad = true
		return 0, nil
	}
	tag, size, head := d.buf[0], int(d.buf[1]), 2
	if size >= 0x80 {
		if size, head = d.longLength(size & 0x7f); d.bad {
			return 0, nil
		}
	}
	if size > len(d.buf)-head {
		d.bad = true
		return 0, nil
	}
	content := d.buf[head : head+size]
	d.buf = d.buf[head+size:]
	return tag, content
}

// longLength reads a length of n bytes. More than 3 bytes are more than a frame holds.
func (d *der) longLength(n int) (size, head int) {
	if n == 0 || n > 3 || len(d.buf) < 2+n {
		d.bad = true
		return 0, 0
	}
	for _, b := range d.buf[2 : 2+n] {
		size = size<<8 | int(b)
	}
	if size < 0x80 || size>>(8*(n-1)) == 0 { // DER: as short as it can be
		d.bad = true
	}
	return size, 2 + n
}

// minimal says whether an INTEGER's content is as short as DER wants it.
func minimal(b []byte) bool {
	switch {
	case len(b) == 0:
		return false
	case len(b) == 1:
		return true
	}
	return !(b[0] == 0 && b[1]&0x80 == 0) && !(b[0] == 0xff && b[1]&0x80 != 0)
}

func all(b []byte, ok func(byte) bool) bool {
	for _, c := range b {
		if !ok(c) {
			return false
		}
	}
	return true
}

func ascii(c byte) bool { return c < 0x80 }

// printable is PrintableString with the "*" and "&" that crypto/x509 lets pass.
func printable(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= '\'' && c <= ')', c >= '+' && c <= '/':
		return true
	}
	return c == ' ' || c == ':' || c == '=' || c == '?' || c == '*' || c == '&'
}

// validBMP rejects the code points that UTF-16 reserves; a terminator is not looked at.
func validBMP(b []byte) bool {
	if len(b)%2 != 0 {
		return false
	}
	if n := len(b); n >= 2 && b[n-1] == 0 && b[n-2] == 0 {
		b = b[:n-2]
	}
	for ; len(b) > 0; b = b[2:] {
		point := uint16(b[0])<<8 | uint16(b[1])
		if point == 0xfffe || point == 0xffff || point >= 0xfdd0 && point <= 0xfdef || point >= 0xd800 && point <= 0xdfff {
			return false
		}
	}
	return true
}
