package life

import (
	"path/filepath"
	"sync"
)

// cache keeps what takes long to find out and is the same each time.
type cache[T any] struct {
	mu   sync.Mutex
	seen map[string]answer[T]
}

type answer[T any] struct {
	value T
	err   error
}

func newCache[T any]() *cache[T] { return &cache[T]{seen: map[string]answer[T]{}} }

func (c *cache[T]) get(key string, find func() (T, error)) (T, error) {
	c.mu.Lock()
	a, ok := c.seen[key]
	c.mu.Unlock()
	if !ok {
		a.value, a.err = find()
		c.mu.Lock()
		c.seen[key] = a
		c.mu.Unlock()
	}
	return a.value, a.err
}

// bases are files without their directories, which are others in each history.
func bases(files []string) (out []string) {
	for _, f := range files {
		out = append(out, filepath.Base(f))
	}
	return out
}
