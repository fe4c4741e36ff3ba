package wire

// JSONVersion is the value of the key "fleetctl_identify" that every line begins with.
const JSONVersion = 1

// AppendJSON writes a Raw as one line of JSON that ends in a newline: the output of identify -json. Numbers are the
// TCG's, byte strings lower-case hex, times microseconds.
func AppendJSON(b []byte, r *Raw) []byte {
	w := jsonWriter{buf: append(b, `{"fleetctl_identify":`...)}
	w.number(JSONVersion)
	w.key("hostname").str(r.Hostname)
	w.key("device").str(r.Device)
	w.key("found").str(r.Found)
	w.key("properties").pairs(len(r.Properties), func(i int) (uint64, uint64) {
		return uint64(r.Properties[i].Tag), uint64(r.Properties[i].Value)
	})
	w.key("nv_indices").numbers(r.NVIndices)
	w.key("persistent").numbers(r.Persistent)
	w.key("ek_certificate").area(r.EKCert)
	w.key("ek").publicKey(r.EK)
	w.key("srk").publicKey(r.SRK)
	w.key("ek_nonce").area(r.Derived.Nonce)
	w.key("derived_ek").publicKey(r.Derived.Key)
	w.key("timings_us").pairs(len(r.Timings), func(i int) (uint64, uint64) {
		return uint64(r.Timings[i].Command), uint64(r.Timings[i].Took.Microseconds())
	})
	return append(w.buf, "}\n"...)
}

type jsonWriter struct{ buf []byte }

func (w *jsonWriter) raw(s string) { w.buf = append(w.buf, s...) }

func (w *jsonWriter) key(name string) *jsonWriter {
	w.raw(`,"` + name + `":`)
	return w
}

// str writes a string that is printable ASCII, or made so.
func (w *jsonWriter) str(s string) {
	w.raw(`"`)
	for _, c := range []byte(Printable(s, maxString)) {
		if c == '"' || c == '\\' {
			w.raw(`\`)
		}
		w.buf = append(w.buf, c)
	}
	w.raw(`"`)
}

func (w *jsonWriter) number(v uint64) {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + v%10)
		if v /= 10; v == 0 {
			break
		}
	}
	w.buf = append(w.buf, digits[i:]...)
}

func (w *jsonWriter) hex(b []byte) {
	const digits = "0123456789abcdef"
	w.raw(`"`)
	for _, c := range b {
		w.buf = append(w.buf, digits[c>>4], digits[c&0xf])
	}
	w.raw(`"`)
}

func (w *jsonWriter) list(n int, item func(i int)) {
	w.raw("[")
	for i := range n {
		if i > 0 {
			w.raw(",")
		}
		item(i)
	}
	w.raw("]")
}

func (w *jsonWriter) numbers(v []uint32) {
	w.list(len(v), func(i int) { w.number(uint64(v[i])) })
}

func (w *jsonWriter) pairs(n int, pair func(i int) (uint64, uint64)) {
	w.list(n, func(i int) {
		a, b := pair(i)
		w.raw("[")
		w.number(a)
		w.raw(",")
		w.number(b)
		w.raw("]")
	})
}

func (w *jsonWriter) area(a Area) {
	w.raw(`{"code":`)
	w.number(uint64(a.Code))
	defined := "false"
	if a.Defined {
		defined = "true"
	}
	w.key("defined").raw(defined)
	w.key("attributes").number(uint64(a.Attributes))
	w.key("data").hex(a.Data)
	w.raw("}")
}

func (w *jsonWriter) publicKey(k Key) {
	w.raw(`{"code":`)
	w.number(uint64(k.Code))
	w.key("public").hex(k.Public)
	w.key("name").hex(k.Name)
	w.raw("}")
}
