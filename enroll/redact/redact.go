// Package redact takes out of texts what must not leave a fleet: secrets always; identities, addresses and names by
// putting stand-ins in their place, the same ones throughout, so that what belongs together still does. It knows forms
// (PEM, UUIDs, hashes, addresses…) and the names that it is told, and nothing of where texts come from.
package redact

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Redactor gives every value a stand-in, the same one each time. It is for one goroutine.
type Redactor struct {
	key       []byte // of this Redactor alone: nobody can try hashes that they know
	names     []name
	addresses map[string]string
}

// name is a word that a stand-in is known for.
type name struct {
	pattern *regexp.Regexp
	standIn string
}

// New makes a Redactor.
func New() *Redactor {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand
	return &Redactor{key: key, addresses: map[string]string{}}
}

// Name has a word (a host's name, a cluster's) replaced wherever it stands by itself. "" is ignored, and so is a word of
// fewer than three characters, which would be found everywhere.
func (r *Redactor) Name(word, standIn string) {
	if len(word) < 3 || slices.ContainsFunc(r.names, func(n name) bool { return n.pattern.FindString(word) == word }) {
		return
	}
	whole := boundary(word, 0) + regexp.QuoteMeta(word) + boundary(word, len(word)-1)
	r.names = append(r.names, name{regexp.MustCompile(`(?i)` + whole), standIn})
	slices.SortStableFunc(r.names, func(a, b name) int { return len(b.pattern.String()) - len(a.pattern.String()) })
}

// boundary is where a word may begin or end, if its character there is one of a word.
func boundary(word string, at int) string {
	if regexp.MustCompile(`\w`).MatchString(word[at : at+1]) {
		return `\b`
	}
	return ""
}

const secretWords = `password|passwd|passphrase|secret|private_key|api_key|credential`

var (
	pemBlock  = regexp.MustCompile(`(?s)-----BEGIN ([A-Z0-9 ]+)-----.*?(?:-----END [A-Z0-9 ]+-----|\z)`)
	secretKV  = regexp.MustCompile(`(?im)^(\s*(?:- )?["']?[\w.-]*(?:` + secretWords + `)s?["']?\s*[:=]\s*)\S.*$`)
	bearer    = regexp.MustCompile(`(?i)\b(authorization:\s*\w+|bearer)\s+\S+`)
	userInfo  = regexp.MustCompile(`(://[^/\s:@]*:)[^/\s@]+@`)
	jwt       = regexp.MustCompile(`\beyJ[\w-]+\.[\w-]+\.[\w-]*`)
	base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{44,}={0,2}`)
	uuid      = regexp.MustCompile(`\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b`)
	hexRun    = regexp.MustCompile(`\b[0-9a-f]{32,}\b`)
	hexPairs  = regexp.MustCompile(`\b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){2,}\b`)
	timeOfDay = regexp.MustCompile(`^(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d$`)
	ipv4      = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}\b`)
	ipv6      = regexp.MustCompile(`(?i)[0-9a-f]*(?::[0-9a-f]*){2,}(?:%\w+)?`)
)

// Text redacts a text: keys and certificates, values of keys that say that they are secret, tokens of every form; hashes,
// serials, UUIDs and addresses get stand-ins of the same form; names that were told get theirs.
func (r *Redactor) Text(s string) string {
	s = Secrets(s)
	s = uuid.ReplaceAllStringFunc(s, r.hexLike)
	s = hexRun.ReplaceAllStringFunc(s, r.hexLike)
	s = hexPairs.ReplaceAllStringFunc(s, func(m string) string {
		if timeOfDay.MatchString(m) {
			return m
		}
		return r.hexLike(m)
	})
	s = base64Run.ReplaceAllStringFunc(s, func(m string) string {
		if hexRun.MatchString(m) || strings.Count(m, "/") > 3 && !strings.ContainsAny(m, "+=") { // a path
			return m
		}
		return fmt.Sprintf("(redacted, %d characters)", len(m))
	})
	s = ipv4.ReplaceAllStringFunc(s, r.address)
	s = ipv6.ReplaceAllStringFunc(s, r.address)
	for _, n := range r.names {
		s = n.pattern.ReplaceAllLiteralString(s, n.standIn)
	}
	return s
}

// Secrets takes out of a text what lets somebody in: keys and certificates, values of keys that say that they are secret,
// tokens. Identities, addresses and names stay.
func Secrets(s string) string {
	s = pemBlock.ReplaceAllString(s, "-----BEGIN $1-----(redacted)-----END $1-----")
	s = secretKV.ReplaceAllString(s, "${1}(redacted)")
	s = bearer.ReplaceAllString(s, "$1 (redacted)")
	s = userInfo.ReplaceAllString(s, "${1}(redacted)@")
	return jwt.ReplaceAllString(s, "(redacted)")
}

// hexLike keeps the form of hex digits and what stands between them, and changes the digits.
func (r *Redactor) hexLike(s string) string {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(strings.ToLower(s)))
	digits := ""
	for sum := mac.Sum(nil); len(digits) < len(s); sum = append(sum[1:], sum[0]) {
		digits += hex.EncodeToString(sum)
	}
	out, n := []byte(s), 0
	for i, c := range out {
		if c == '-' || c == ':' {
			continue
		}
		out[i] = digits[n]
		n++
	}
	return string(out)
}

// address gives addresses stand-ins out of the blocks for documentation (RFC 5737, RFC 3849). Loopback and the
// unspecified address stay, and so does what only looks like an address.
func (r *Redactor) address(s string) string {
	plain, zone, _ := strings.Cut(s, "%")
	a, err := netip.ParseAddr(plain)
	if err != nil || a.IsLoopback() || a.IsUnspecified() {
		return s
	}
	if known, ok := r.addresses[plain]; ok {
		return known + zoneOf(zone)
	}
	n := len(r.addresses) + 1
	standIn := fmt.Sprintf("192.0.2.%d", n%254+1)
	if a.Is6() {
		standIn = fmt.Sprintf("2001:db8::%x", n)
	}
	r.addresses[plain] = standIn
	return standIn + zoneOf(zone)
}

func zoneOf(zone string) string {
	if zone == "" {
		return ""
	}
	return "%" + zone
}
