package child

import "io"

// Head is a writer that keeps the first Max bytes. It takes more than that without an error, so that the program that
// writes goes on. It offers nothing but Write, as io.Copy goes around whatever has a ReadFrom.
type Head struct {
	Max  int
	data []byte
	cut  bool
}

// Write keeps what there is room for.
func (h *Head) Write(p []byte) (int, error) {
	keep := min(len(p), h.Max-len(h.data))
	h.data = append(h.data, p[:keep]...)
	h.cut = h.cut || keep < len(p)
	return len(p), nil
}

// Bytes are what was kept.
func (h *Head) Bytes() []byte { return h.data }

// Cut says whether there was more.
func (h *Head) Cut() bool { return h.cut }

// Tail is a writer that keeps the last Max bytes: where a program says why it failed.
type Tail struct {
	Max  int
	data []byte
}

// Write keeps the end of what was written.
func (t *Tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > t.Max {
		p = p[len(p)-t.Max:]
	}
	if over := len(t.data) + len(p) - t.Max; over > 0 {
		t.data = t.data[:copy(t.data, t.data[over:])]
	}
	t.data = append(t.data, p...)
	return n, nil
}

func (t *Tail) String() string { return string(t.data) }

var (
	_ io.Writer = (*Head)(nil)
	_ io.Writer = (*Tail)(nil)
)
