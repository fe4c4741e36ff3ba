package remotetest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// wrapped is what a wrapper script holds: one of script, file and payload.
type wrapped struct {
	marker  string
	limit   time.Duration
	stdin   bool // the session's; else nothing
	script  string
	file    *FileCall
	payload *PayloadCall
	sum     string // SHA-256 of what is pushed
}

// The fixed lines of the wrapper between which its setup and its body stand.
const (
	setupBegins = "; trap 'stop 143' TERM\n"
	setupEnds   = "\nsay READY $$; [ -t 2 ] || say READY >&2\n"
	bodyEnds    = " 3<&- &\nchild=$!\n"
)

var wrapperHead = regexp.MustCompile(`^fleetctl_main\(\) \{\nm=(\S+) w=(\S+) limit=([0-9]+) `)

// parseWrapper takes a wrapper apart.
func parseWrapper(text string) (*wrapped, error) {
	head := wrapperHead.FindStringSubmatch(text)
	_, rest, found := strings.Cut(text, setupBegins)
	setup, body, ready := strings.Cut("\n"+rest, setupEnds)
	last := strings.LastIndex(body, bodyEnds)
	if head == nil || !found || !ready || last < 0 {
		return nil, errors.New("no wrapper")
	}
	marker, err := unquote(head[1])
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.Atoi(head[3])
	if err != nil {
		return nil, err
	}
	w := &wrapped{marker: marker, limit: time.Duration(seconds) * time.Second}
	body, from, ok := cutLast(body[:last], " <")
	if w.stdin = from == "&3"; !ok || !w.stdin && from != "/dev/null" {
		return nil, fmt.Errorf("stdin from %q", from)
	}
	return w, w.content(setup, body)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (w *wrapped) content(setup, body string) (err error) {
	switch {
	case strings.TrimSpace(setup) == "" && strings.HasPrefix(body, "( eval ") && strings.HasSuffix(body, " )"):
		w.script, err = unquote(strings.TrimSuffix(strings.TrimPrefix(body, "( eval "), " )"))
		return err
	case body == ":":
		w.file, err = parseFile(setup)
	case strings.HasPrefix(body, `"$f" `):
		w.payload, err = parsePayload(setup, strings.TrimPrefix(body, `"$f" `))
	default:
		return errors.New("neither a script nor a file nor a payload")
	}
	if err == nil {
		w.sum, err = find(setup, `\[ "\$got" = (`, `) \]`)
	}
	return err
}

func parseFile(setup string) (*FileCall, error) {
	f := &FileCall{}
	var mode, owner string
	err := errors.Join(
		findInto(&f.Path, setup, `\np=(`, `) d=`),
		findNumber(&f.Size, setup, `receive ([0-9]+) `),
		findInto(&mode, setup, `chmod (`, `) "\$t"`),
		findInto(&owner, setup, `chown -h -- (`, `) "\$t"`),
	)
	if err != nil {
		return nil, err
	}
	bits, err := strconv.ParseUint(mode, 8, 32)
	f.Mode = uint32(bits)
	f.Owner, f.Group, _ = strings.Cut(owner, ":")
	return f, err
}

func parsePayload(setup, args string) (*PayloadCall, error) {
	p := &PayloadCall{}
	var keep, avoid string
	err := errors.Join(
		findInto(&p.Name, setup, `\n  f=\$dir/(`, `)\n`),
		findNumber(&p.Size, setup, `receive ([0-9]+) `),
		findInto(&p.SHA256, setup, `\[ "\$got" = (`, `) \]`),
		findInto(&keep, setup, `keep=(`, `)\n`),
		findInto(&avoid, setup, `avoided\(\) \{ case (`, `) in `),
	)
	p.Keep = keep == "true"
	p.Avoid = strings.Fields(avoid)
	for args = strings.TrimSpace(args); args != "" && err == nil; args = strings.TrimSpace(args) {
		var word string
		if word, args, err = shellWord(args); err == nil {
			p.Args = append(p.Args, word)
		}
	}
	return p, err
}

// find looks for a quoted word between two patterns, the first of which ends with an open group.
func find(text, before, after string) (string, error) {
	re := regexp.MustCompile(before + `(?:[^\s'"]|'[^']*'|\\')+` + after)
	m := re.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("no %s…%s", before, after)
	}
	return unquote(m[1])
}

func findInto(to *string, text, before, after string) (err error) {
	*to, err = find(text, before, after)
	return err
}

func findNumber(to *int, text, pattern string) (err error) {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("no %s", pattern)
	}
	*to, err = strconv.Atoi(m[1])
	return err
}

// unquote is the inverse of remote.Quote. More than one word is an error.
func unquote(s string) (string, error) {
	word, rest, err := shellWord(s)
	if err == nil && rest != "" {
		err = fmt.Errorf("more than one word: %q", s)
	}
	return word, err
}

// shellWord takes the first word as remote.Quote writes them: plain, '…' and \' alone.
func shellWord(s string) (word, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\'':
			n := strings.IndexByte(s[i+1:], '\'')
			if n < 0 {
				return "", "", fmt.Errorf("an open quote: %q", s)
			}
			b.WriteString(s[i+1 : i+1+n])
			i += n + 2
		case c == '\\' && i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i += 2
		case c == ' ':
			return b.String(), s[i:], nil
		case strings.IndexByte("\n\t\"$`;&|<>()\\", c) >= 0:
			return "", "", fmt.Errorf("%q is not quoted", c)
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), "", nil
}

// receiver asks for what is pushed, as the scripts do: NEED, so many bytes, and their SHA-256.
func (t *talk) receiver(size int, sum string) func() ([]byte, error) {
	return func() ([]byte, error) {
		t.say("NEED")
		data := make([]byte, size)
		if n, err := io.ReadFull(t.in, data); err != nil {
			return data[:n], &Refusal{"write", "the connection ended"}
		}
		if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != sum {
			return nil, &Refusal{"sum", ""}
		}
		return data, nil
	}
}
