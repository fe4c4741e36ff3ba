package cabundle

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// bareBase64 is the start of a DER or BER sequence longer than 127 bytes (30 80 to 30 83), or a line of one.
var bareBase64 = regexp.MustCompile(`(?:^|[^A-Za-z0-9+/])(MI[A-Z][A-Za-z0-9+/]{37,}={0,2})`)

// wholeLine is a line of base64 and nothing else.
var wholeLine = regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)

// bare takes base64 without markers, from this line on, as long as it goes: openssl x509 does not read it, but people
// have it (in YAML, in a JWK's x5c), and dropping it would be silent. It says whether there was any, and then moves on.
func (s *scanner) bare(line string) bool {
	m := bareBase64.FindStringSubmatchIndex(line)
	if m == nil {
		return false
	}
	begin, token := s.at, line[m[2]:m[3]]
	s.lines[s.at] = s.lines[s.at][strings.Index(s.lines[s.at], token)+len(token):]
	size := encodedSize(token)
	var all strings.Builder
	all.WriteString(token)
	for trimLine(s.lines[s.at]) == "" && !strings.HasSuffix(all.String(), "=") && (size == 0 || all.Len() < size) {
		if s.at+1 >= len(s.lines) {
			break
		}
		next := trimLine(s.lines[s.at+1])
		if !wholeLine.MatchString(next) {
			break
		}
		all.WriteString(next)
		s.at++
		s.lines[s.at] = ""
	}
	s.bareFound(all.String(), begin)
	return true
}

func (s *scanner) bareFound(text string, begin int) {
	data, err := decodeBase64(text)
	if err != nil {
		s.leaveOut(begin, "base64 without BEGIN line: %v", err)
		return
	}
	e, _, ok := readElement(data)
	switch {
	case !ok:
		s.leaveOut(begin, "base64 without BEGIN line: %s", cutOff(data))
	case !certificateShape(e) && !isPKCS7(e):
		s.leaveOut(begin, "base64 that holds no certificate")
	default:
		s.out = append(s.out, unpack(data, "", Part{Line: begin + 1})...)
	}
}

func trimLine(line string) string { return strings.Trim(line, " \t\v\f\"',") }

// encodedSize is how many characters the element that begins here takes, without padding; 0: unknown.
func encodedSize(token string) int {
	head, err := base64.RawStdEncoding.DecodeString(token[:8])
	if err != nil {
		return 0
	}
	size, n, ok := readLength(head)
	if !ok {
		return 0
	}
	return base64.RawStdEncoding.EncodedLen(size + n)
}
