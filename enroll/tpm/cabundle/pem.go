package cabundle

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// labelTrusted is OpenSSL's certificate with trust settings behind it (openssl-x509(1), "Trust Settings").
const labelTrusted = "TRUSTED CERTIFICATE"

// labels are those that hold certificates: RFC 7468, sections 5 and 8, and what OpenSSL takes as well (PEM_read(3)).
var labels = map[string]bool{
	"CERTIFICATE": true, "X509 CERTIFICATE": true, labelTrusted: true,
	"PKCS7": true, "PKCS #7 SIGNED DATA": true, "CMS": true,
}

var (
	beginLine = regexp.MustCompile(`-----BEGIN ([A-Za-z0-9 #._/]+)-----`)
	endLine   = regexp.MustCompile(`^-----END ([A-Za-z0-9 #._/]+)-----`)
	// almostBegin is a line that somebody's editor or mail program has made dashes of.
	almostBegin = regexp.MustCompile("^(-|[\u2010-\u2015]|\u2212)+ ?(BEGIN|END) [A-Z0-9 #]*(CERTIFICATE|PKCS|CMS)")
	// escapes of a JSON or YAML string between quotes.
	escapes = strings.NewReplacer(`\r`, " ", `\n`, " ", `\/`, "/")
	endings = strings.NewReplacer("\r\n", "\n", "\r", "\n")
)

// scanner goes through a text. Where RFC 7468 wants markers at the start of a line, it takes them anywhere: indented, in
// quotes, the whole block on one line.
type scanner struct {
	lines []string
	at    int // the line that is looked at, from 0
	out   []Part
}

func readText(text string) []Part {
	s := scanner{lines: strings.Split(endings.Replace(text), "\n")}
	for i, l := range s.lines {
		s.lines[i] = escapes.Replace(l)
	}
	for s.at < len(s.lines) {
		s.line()
	}
	return s.out
}

// line looks at one line outside of a block, or at what is left of it.
func (s *scanner) line() {
	line := s.lines[s.at]
	if m := beginLine.FindStringSubmatchIndex(line); m != nil {
		before := strings.TrimSpace(line[:m[0]])
		comment := strings.HasPrefix(before, "#") || strings.HasPrefix(before, "//")
		if !comment && s.bare(before) {
			return
		}
		s.lines[s.at] = line[m[1]:]
		s.block(line[m[2]:m[3]], comment)
		return
	}
	trimmed := strings.TrimSpace(line)
	if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "//") {
		s.at++
		return
	}
	if !s.bare(line) {
		s.stray(trimmed)
		s.at++
	}
}

// stray names markers that belong to nothing. One beside bare base64 that could be read loses nothing.
func (s *scanner) stray(line string) {
	begin := almostBegin.FindStringSubmatch(line)
	if begin == nil {
		return
	}
	if begin[2] == "END" {
		last := len(s.out) - 1
		if last < 0 || s.out[last].DER == nil {
			s.leaveOut(s.at, "an END line without a BEGIN line")
		}
		return
	}
	at, before := s.at, len(s.out)
	if s.at+1 < len(s.lines) {
		s.at++
		s.bare(s.lines[s.at])
		s.at--
	}
	if len(s.out) == before {
		s.leaveOut(at, "a BEGIN line that is not written as \"-----BEGIN CERTIFICATE-----\"")
	}
}

func (s *scanner) leaveOut(line int, format string, args ...any) {
	s.out = append(s.out, Part{Line: line + 1, Reason: fmt.Sprintf(format, args...)})
}

// block reads from behind a BEGIN marker to behind its END marker, or to where it must have been lost.
func (s *scanner) block(label string, comment bool) {
	begin := s.at
	var body []string
	for ; s.at < len(s.lines); s.at++ {
		line := s.lines[s.at]
		i := strings.Index(line, "-----")
		if i < 0 {
			body = append(body, line)
			continue
		}
		body = append(body, line[:i])
		end := endLine.FindStringSubmatch(line[i:])
		switch {
		case end != nil:
			s.lines[s.at] = line[i+len(end[0]):]
			s.closed(label, end[1], begin, body, comment)
			return
		case beginLine.MatchString(line[i:]):
			s.lines[s.at] = line[i:]
			s.open(label, begin, body, comment, "no END line before the next BEGIN line")
			return
		}
		s.lines[s.at] = ""
		s.open(label, begin, body, comment, fmt.Sprintf("a damaged END line (line %d)", s.at+1))
		return
	}
	s.open(label, begin, body, comment, "no END line")
}

// open is for a block whose END marker is missing. As OpenSSL does, it takes what is whole nevertheless.
func (s *scanner) open(label string, begin int, body []string, comment bool, fault string) {
	if data, err := decode(body, begin); err == nil && labels[label] && !comment {
		if e, rest, ok := readElement(data); ok && len(rest) == 0 && (certificateShape(e) || isPKCS7(e)) {
			s.out = append(s.out, unpack(data, label, Part{Line: begin + 1})...)
			return
		}
	}
	s.leaveOut(begin, "%q has %s", label, fault)
}

// closed takes apart a block that has both markers.
func (s *scanner) closed(label, end string, begin int, body []string, comment bool) {
	switch {
	case comment:
		s.leaveOut(begin, "%q is in a comment", label)
		return
	case end != label:
		s.leaveOut(begin, "%q ends as %q", label, end)
		return
	case !labels[label]:
		s.leaveOut(begin, "%q is no X.509 certificate", label)
		return
	}
	data, err := decode(body, begin)
	if err != nil {
		s.leaveOut(begin, "%q is damaged: %v", label, err)
		return
	}
	s.out = append(s.out, unpack(data, label, Part{Line: begin + 1})...)
}

// decode decodes the base64 between the markers. Headers (RFC 1421, section 4.6) are passed over.
func decode(body []string, first int) ([]byte, error) {
	var all strings.Builder
	for i, line := range body {
		line = strings.Trim(line, " \t\v\f\"',")
		if all.Len() == 0 && strings.Contains(line, ":") {
			continue
		}
		for _, c := range line {
			if c == ' ' || c == '\t' {
				continue
			}
			if strings.HasSuffix(all.String(), "=") && c != '=' {
				return nil, fmt.Errorf("base64 goes on after its end (line %d)", first+i+1)
			}
			if !isBase64(c) {
				return nil, fmt.Errorf("%+q is no base64 (line %d)", c, first+i+1)
			}
			all.WriteRune(c)
		}
	}
	return decodeBase64(all.String())
}

func isBase64(c rune) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}

// decodeBase64 does without padding, which copying loses.
func decodeBase64(s string) ([]byte, error) {
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil, errors.New("the base64 is cut off")
	}
	return data, nil
}
