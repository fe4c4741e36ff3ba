package tbot

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"fleetctl/test/cluster/versions"
)

// Where the journal's form changes (versions.md, D).
const (
	newForm    = "16.0.0" // milliseconds, short names of components, error reports with a stack
	noFullStop = "16.1.0" // messages end without a full stop
)

// journal writes lines in the form of a version: samples journal-joined-15.txt and journal-joined-18.txt.
type journal struct {
	mu sync.Mutex
	w  io.Writer
	v  versions.V
}

func (j *journal) from(version string) bool { return j.v.Compare(versions.Must(version)) >= 0 }

// line writes time, level, component, message, fields and the place in the program.
func (j *journal) line(level, component, message, place string, fields ...string) {
	stamp := time.RFC3339
	if j.from(newForm) {
		stamp = "2006-01-02T15:04:05.000Z07:00"
	}
	if !j.from(noFullStop) {
		message += "."
	}
	words := append([]string{time.Now().UTC().Format(stamp), level, "[" + component + "]", message}, fields...)
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintln(j.w, strings.Join(append(words, place), " "))
}

// identity writes a line of the service that keeps the bot's own identity.
func (j *journal) identity(level, message string, line int, fields ...string) {
	if j.from(newForm) {
		j.line(level, "TBOT:IDEN", message, fmt.Sprintf("identity/service.go:%d", line), fields...)
		return
	}
	j.line(level, "TBOT:IDENT", message, fmt.Sprintf("tbot/identity_service.go:%d", line), fields...)
}

// identity16 writes a line that 15 does not have.
func (j *journal) identity16(level, message string, line int, fields ...string) {
	if j.from(newForm) {
		j.identity(level, message, line, fields...)
	}
}

// stackDepth is how many lines the stack of an error report has.
const stackDepth = 24

// report writes an error that does not end tbot. From 16 on it is a report of dozens of lines, with the error's own words
// at the end: #65258, sample journal-degraded-17.5.3.txt.
func (j *journal) report(message string, err error, line int) {
	text := err.Error()
	if !j.from(newForm) {
		j.identity("ERRO", message, line, "error:"+text)
		return
	}
	lines := strings.Split(text, "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "error:[\nERROR REPORT:\nOriginal Error: *interceptors.RemoteError %s\nStack Trace:\n",
		strings.TrimSpace(lines[len(lines)-1]))
	for i := range stackDepth {
		fmt.Fprintf(&b, "\t/go/src/github.com/gravitational/teleport/lib/x/file%d.go:%d pkg.Func%d\n", i, 100+i, i)
	}
	fmt.Fprintf(&b, "User Message: %s]", text)
	j.identity("ERRO", message, line, b.String())
}
