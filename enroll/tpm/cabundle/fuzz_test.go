package cabundle

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"
)

// FuzzRead: whatever the file, every part is a certificate or a reason, at a place in the file; there is a part for every
// certificate that encoding/pem sees; and what is found is found again in a clean file.
func FuzzRead(f *testing.F) {
	for _, e := range examples(f) {
		f.Add(e.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		parts := Read(data)
		for _, p := range parts {
			checkPart(t, p, data)
		}
		if n := countPEM(data); n > len(parts) {
			t.Errorf("encoding/pem sees %d certificates, there are %d parts", n, len(parts))
		}
	})
}

func checkPart(t *testing.T, p Part, data []byte) {
	t.Helper()
	if (p.DER == nil) == (p.Reason == "") || p.Line < 0 || p.Line > len(data)+1 || p.Offset < 0 || p.Offset > len(data) {
		t.Errorf("part %+v", p)
	}
	if strings.ContainsFunc(p.Reason, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("reason %q", p.Reason)
	}
	if p.DER == nil {
		return
	}
	e, rest, ok := readElement(p.DER)
	if !ok || len(rest) > 0 || e.tag != tagSequence {
		t.Errorf("%x is no element", p.DER)
	}
	if again := Read(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.DER})); !isPKCS7(e) &&
		(len(again) != 1 || !bytes.Equal(again[0].DER, p.DER)) {
		t.Errorf("%x is found as %+v", p.DER, again)
	}
}

func countPEM(data []byte) int {
	n := 0
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return n
		}
		if b.Type == "CERTIFICATE" {
			n++
		}
	}
}
