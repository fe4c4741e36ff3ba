package inventory

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// hexRange is a range as Ansible takes it inside of an IPv6 address.
	hexRange = regexp.MustCompile(`(?i)\[[0-9a-f]+:[0-9a-f]+(:[0-9]+)?\]`)
	// labelRange is a range as Ansible takes it inside of a host name.
	labelRange = regexp.MustCompile(`(?i)^\[([a-z]:[a-z]|[0-9]+:[0-9]+)(:[0-9]+)?\]`)
)

// splitPort takes a port off "host:port" and "[address]:port". What isn't an address or a host name with ranges is
// returned as it is, without a port and not ok.
func splitPort(s string) (host string, port int, ok bool) {
	host = s
	if i := strings.LastIndex(s, "]:"); i > 1 && s[0] == '[' {
		if n, isPort := portNumber(s[i+2:]); isPort {
			host, port = s[1:i], n
		}
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && balanced(host[:i]) {
		if n, isPort := portNumber(host[i+1:]); isPort {
			host, port = host[:i], n
		}
	}
	if !isHostname(host) && !isIPv6(host) {
		return s, 0, false
	}
	return host, port, true
}

func portNumber(s string) (int, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// balanced says whether colons and brackets stand only in complete bracketed expressions.
func balanced(s string) bool {
	inside := false
	for i := range len(s) {
		switch s[i] {
		case '[':
			inside = true
		case ']':
			if !inside {
				return false
			}
			inside = false
		case ':':
			if !inside {
				return false
			}
		}
	}
	return !inside
}

// isIPv6 says whether s is an IPv6 address, with a range in place of any component.
func isIPv6(s string) bool {
	if strings.IndexByte(s, ':') < 0 {
		return false
	}
	addr, err := netip.ParseAddr(hexRange.ReplaceAllString(s, "0"))
	return err == nil && addr.Is6() && addr.Zone() == ""
}

// isHostname says whether s is a host name (or an IPv4 address), ranges included: dotted labels of letters, digits, _
// and -, which begin with a letter, a digit, _ or a range and do not end with _ or -.
func isHostname(s string) bool {
	start := true // of a label
	last := rune(0)
	for len(s) > 0 {
		if s[0] == '[' {
			m := labelRange.FindString(s)
			if m == "" {
				return false
			}
			s, start, last = s[len(m):], false, ']'
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		switch {
		case r == '.':
			if start || last == '_' || last == '-' {
				return false
			}
			start = true
			continue
		case r == '_' || r == '-' && !start || unicode.IsLetter(r) || unicode.IsNumber(r):
		default:
			return false
		}
		start, last = false, r
	}
	return !start && last != '_' && last != '-'
}
