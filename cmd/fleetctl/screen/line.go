package screen

import (
	"io"
	"sync"
)

// Line is a terminal whose last line says how far something has come. What else is written to it stands above that line.
type Line struct {
	mu    sync.Mutex
	w     io.Writer
	shown string
}

// NewLine is a terminal on which nothing is shown yet.
func NewLine(w io.Writer) *Line { return &Line{w: w} }

// erase goes to the begin of the line and clears it (ECMA-48: CR, EL).
const erase = "\r\x1b[K"

// Terminal is the terminal itself, for programs that ask somebody there while no line is shown.
func (l *Line) Terminal() io.Writer { return l.w }

// Write writes above the line. p ends with its own end of line.
func (l *Line) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown == "" {
		return l.w.Write(p)
	}
	if _, err := l.w.Write([]byte(erase + string(p) + l.shown)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Shown says whether there is such a line now.
func (l *Line) Shown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shown != ""
}

// Show shows a text in place of the one before; "" takes the line away. The text is narrower than the terminal.
func (l *Line) Show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text == l.shown {
		return
	}
	l.shown = text
	_, _ = io.WriteString(l.w, erase+text) // there is nobody else to tell
}
