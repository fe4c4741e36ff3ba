package ekcert

// extension checks what crypto/x509 checks of the extensions that it knows (RFC 5280, section 4.2). Whatever is outside
// 2.5.29, but for the authority information access, it does not look into.
func (p *parser) extension(oid string, critical bool, value []byte) {
	in := der{buf: value}
	if oid == oidAIA {
		p.require(!critical)
		p.access(in.get(tagSequence))
		p.fail(in)
		return
	}
	if len(oid) != 3 || oid[:2] != oidCE {
		return
	}
	switch oid[2] {
	case 15: // key usage
		p.bitString(in.get(tagBitString))
	case 19:
		p.basicConstraints(in.get(tagSequence))
	case 17:
		p.alternativeNames(in.get(tagSequence))
	case 31:
		p.distributionPoints(in.get(tagSequence))
	case 35:
		p.require(!critical)
		p.authorityKey(in.get(tagSequence))
	case 37:
		p.usages(in.get(tagSequence))
	case 14: // subject key identifier
		p.require(!critical)
		in.get(tagOctetString)
	case 32:
		p.policies(in.get(tagSequence))
	case 30, 33, 36, 54: // name constraints, policy mappings, policy constraints, inhibit any policy
		p.unsure = true
	}
	p.fail(in)
}

func (p *parser) basicConstraints(content []byte) {
	in := der{buf: content}
	if in.peek() == tagBoolean {
		p.boolean(&in)
	}
	if in.peek() == tagInteger {
		v := in.get(tagInteger)
		p.require(minimal(v) && v[0]&0x80 == 0)
		if len(v) > 2 {
			p.unsure = true // too long for some builds of tbot
		}
	}
	p.fail(in)
}

// alternativeNames leaves URIs to net/url.
func (p *parser) alternativeNames(content []byte) {
	in := der{buf: content}
	for in.more() {
		tag, value := in.any()
		switch tag ^ 0x80 {
		case 1, 2: // rfc822Name, dNSName
			p.require(all(value, ascii))
		case 6: // uniformResourceIdentifier
			p.unsure = true
		case 7: // iPAddress
			p.require(len(value) == 4 || len(value) == 16)
		}
	}
	p.fail(in)
}

func (p *parser) distributionPoints(content []byte) {
	in := der{buf: content}
	for in.more() {
		point := der{buf: in.get(tagSequence)}
		if point.peek() == tagContext0 {
			name := der{buf: point.get(tagContext0)}
			full := der{buf: name.get(tagContext0)}
			for full.peek() == tagContext6Primitive {
				full.get(tagContext6Primitive)
			}
			p.fail(name, full)
		}
		p.fail(point)
	}
	p.fail(in)
}

func (p *parser) authorityKey(content []byte) {
	in := der{buf: content}
	if in.peek() == tagContext0Primitive {
		in.get(tagContext0Primitive)
	}
	p.fail(in)
}

func (p *parser) usages(content []byte) {
	in := der{buf: content}
	for in.more() {
		p.oid(in.get(tagOID))
	}
	p.fail(in)
}

func (p *parser) policies(content []byte) {
	in := der{buf: content}
	seen := map[string]bool{}
	for in.more() {
		policy := der{buf: in.get(tagSequence)}
		oid := policy.get(tagOID)
		p.fail(policy)
		// Numbers of any size are allowed here, other than in an OID elsewhere.
		p.require(len(oid) > 0 && !seen[string(oid)] && !p.bad && oid[len(oid)-1]&0x80 == 0)
		start := true
		for _, b := range oid {
			p.require(!(start && b == 0x80))
			start = b&0x80 == 0
		}
		seen[string(oid)] = true
	}
	p.fail(in)
}

func (p *parser) access(content []byte) {
	in := der{buf: content}
	for in.more() {
		description := der{buf: in.get(tagSequence)}
		p.oid(description.get(tagOID))
		if description.peek() == tagContext6Primitive {
			description.get(tagContext6Primitive)
		}
		p.fail(description)
	}
	p.fail(in)
}
