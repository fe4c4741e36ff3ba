package remote

import (
	"io"
	"net"
	"sync"
)

// Sizes of what is copied at once: much comes, little goes.
const (
	severRead  = 16 << 10
	severWrite = 8 << 10
)

// severed is a channel of a jump host that can be closed: reads and writes of it end at once. Those of the channel itself
// end only when the jump host agrees, or its connection ends, which it need not do for ever.
type severed struct {
	net.Conn // our end of a pipe
	inner    net.Conn
	once     sync.Once
}

// sever puts a pipe in front of a channel.
func sever(inner net.Conn) net.Conn {
	ours, theirs := net.Pipe()
	c := &severed{Conn: ours, inner: inner}
	go func() {
		_, _ = io.CopyBuffer(onlyWriter{theirs}, onlyReader{inner}, make([]byte, severRead))
		_ = theirs.Close()
	}()
	go func() {
		_, _ = io.CopyBuffer(onlyWriter{inner}, onlyReader{theirs}, make([]byte, severWrite))
		c.drop()
	}()
	return c
}

// Close ends our end now. The channel's end is told of it by a goroutine that ends with the jump host's connection at the
// latest.
func (c *severed) Close() error {
	err := c.Conn.Close()
	go c.drop()
	return err
}

func (c *severed) drop() { c.once.Do(func() { _ = c.inner.Close() }) }

// RemoteAddr is the channel's.
func (c *severed) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

// LocalAddr is the channel's.
func (c *severed) LocalAddr() net.Addr { return c.inner.LocalAddr() }

// onlyReader and onlyWriter keep io.CopyBuffer from other ways that they may have.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
