package records

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"fleetctl/enroll/outcome"
)

// maxObject bounds one object of a file that is imported, in bytes.
const maxObject = 1 << 20

// errObject is what is wrong with one object.
var errObject = errors.New("no object")

// objectReader takes the JSON objects of a file, one behind the other, in an array or in a document's list, one by one: by their
// braces, so that one that is no JSON doesn't hide those behind it. Where the braces of one don't come to an end, the next one
// begins with the next line that begins as it did.
type objectReader struct {
	in       *bufio.Reader
	document bool   // what is read is the list of one, and the document ends behind it
	ended    bool   // it has
	back     []byte // read already, and to be read once more
}

func (r *objectReader) readByte() (byte, error) {
	if len(r.back) > 0 {
		b := r.back[0]
		r.back = r.back[1:]
		return b, nil
	}
	return r.in.ReadByte()
}

// next returns the next object; io.EOF where there is none. After an errObject there may be more.
func (r *objectReader) next() (json.RawMessage, error) {
	indent, err := r.begin()
	if err != nil {
		return nil, err
	}
	text := []byte{'{'}
	for depth, quoted, escaped := 1, false, false; depth > 0; {
		b, err := r.readByte()
		switch {
		case errors.Is(err, io.EOF):
			return nil, r.again(text, indent, "it does not end")
		case err != nil:
			return nil, err
		case len(text) == maxObject:
			return nil, r.again(text, indent, fmt.Sprintf("it has more than %d bytes", maxObject))
		}
		text = append(text, b)
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = b == '\\', b != '"'
		case b == '"':
			quoted = true
		case b == '{':
			depth++
		case b == '}':
			depth--
		}
	}
	if err := json.Unmarshal(text, new(json.RawMessage)); err != nil {
		return nil, r.again(text, indent, err.Error())
	}
	return text, nil
}

// begin reads up to a brace, and returns what stands before it in its line. Between objects may be what an array has there.
func (r *objectReader) begin() (indent []byte, err error) {
	var strange []byte
	for {
		b, err := r.readByte()
		switch {
		case errors.Is(err, io.EOF) && len(strange) > 0:
			return nil, fmt.Errorf("%w: %q", errObject, strange)
		case errors.Is(err, io.EOF) && r.document && !r.ended:
			return nil, &outcome.InputError{Msg: "it ends in the middle: hosts are missing", Hint: "make the file again"}
		case err != nil:
			return nil, err
		case b == '}' && r.document && len(strange) == 0:
			r.ended = true
		case b == '{' && len(strange) == 0:
			return indent, nil
		case b == '{' || b == '\n' && len(strange) > 0:
			if b == '{' {
				r.back = append([]byte{b}, r.back...)
			}
			return nil, fmt.Errorf("%w: %q", errObject, strange)
		case b == '\n':
			indent = nil
		case b == ' ' || b == '\t':
			indent = append(indent, b)
		case b != '\r' && b != ',' && b != '[' && b != ']' && len(strange) < 40:
			strange = append(strange, b)
		}
	}
}

// again puts back what stands behind a bad object: from the next line on that begins with a brace, as far in as the object did.
func (r *objectReader) again(text, indent []byte, why string) error {
	if at := bytes.Index(text, append(append([]byte{'\n'}, indent...), '{')); at >= 0 {
		r.back = append(bytes.Clone(text[at:]), r.back...)
	}
	return fmt.Errorf("%w: %s", errObject, why)
}
