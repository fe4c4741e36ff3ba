package records

import (
	"bufio"
	"fmt"
	"regexp"

	"fleetctl/enroll/outcome"
)

// opening is how what fleetctl itself wrote begins.
var opening = regexp.MustCompile(`^\{\s*"schema"\s*:\s*"fleetctl/([^"]{1,60})"\s*(,\s*"records"\s*:\s*\[)?`)

// longestOpening bounds it, in bytes.
const longestOpening = 256

// openDocument looks at how a file begins. Of a document of records, which is one object around a list that may be long, it
// takes what stands before the list, and says so. A document of something else is ErrInput.
func openDocument(in *bufio.Reader) (document bool, err error) {
	head, _ := in.Peek(longestOpening) // a file may be shorter
	m := opening.FindSubmatch(head)
	if m == nil {
		return false, nil
	}
	switch name, list := string(m[1]), len(m[2]) > 0; {
	case list && (name == "export/v1" || name == "records/v1"):
		_, err := in.Discard(len(m[0]))
		return true, err
	case !list && (name == "exported-record/v1" || name == "record/v1"):
		return false, nil
	default:
		return false, &outcome.InputError{Msg: fmt.Sprintf("the file is fleetctl/%s, which cannot be imported", name),
			Hint: "\"fleetctl records export\" of this version writes what can be imported"}
	}
}
