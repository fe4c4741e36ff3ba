package inventory

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Error is a fault in something that the user wrote: the place, what is wrong there, and what to do.
type Error struct {
	Pos Pos
	Msg string
	Err error // the cause, or nil
}

// Error is "file:line:column: what is wrong".
func (e *Error) Error() string {
	msg := e.Msg
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	if e.Pos.File == "" {
		return msg
	}
	return e.Pos.String() + ": " + msg
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

func errorAt(pos Pos, format string, args ...any) error {
	return &Error{Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// checkUTF8 returns an error that points at the first byte that isn't UTF-8. Ansible forgives such bytes in comments of
// INI files; a file in another encoding is no place to guess.
func checkUTF8(file string, data []byte) error {
	if utf8.Valid(data) {
		return nil
	}
	off := 0
	for off < len(data) {
		r, size := utf8.DecodeRune(data[off:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		off += size
	}
	return errorAt(posOf(file, data, off), "byte 0x%02x is not UTF-8; save the file as UTF-8", data[off])
}

// posOf is the place of a byte offset; columns count characters.
func posOf(file string, data []byte, off int) Pos {
	before := data[:min(off, len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return Pos{File: file, Line: bytes.Count(before, []byte{'\n'}) + 1, Column: utf8.RuneCount(before[start:]) + 1}
}
