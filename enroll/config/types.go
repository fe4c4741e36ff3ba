package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Path is an absolute path on a host: clean, not the root, and fit for a systemd unit, which splits words at blanks and
// expands %, $ and quotes (systemd.syntax(7), systemd.service(5)).
type Path string

// Check says what is wrong with a path; nil for none. "" is wrong, too.
func (p Path) Check() error {
	s := string(p)
	switch {
	case !strings.HasPrefix(s, "/") || filepath.Clean(s) != s || s == "/":
		return fmt.Errorf("%q is not a clean absolute path", s)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`%$"'\;`, r) }):
		return fmt.Errorf("%q is not a clean absolute path: a systemd unit can't hold blanks, control characters and %%$\"'\\;", s)
	}
	return nil
}

// Duration is a time as Go and tbot write it ("90s", "20m", "1h"); "" is none.
type Duration string

// Value is the duration; 0 for none, and for one that Check refuses.
func (d Duration) Value() time.Duration {
	v, err := time.ParseDuration(string(d))
	if err != nil {
		return 0
	}
	return v
}

// Check says what is wrong with a duration; nil for none.
func (d Duration) Check() error {
	if d == "" || d.Value() > 0 {
		return nil
	}
	if _, err := strconv.Atoi(string(d)); err == nil {
		return fmt.Errorf("%q has no unit: did you mean %ss?", string(d), string(d))
	}
	return fmt.Errorf("%q is no duration like 90s, 20m or 1h", string(d))
}

// Share is a number of hosts ("10") or a part of all of them ("20%").
type Share string

// Of is the number of hosts that a share of total is: rounded down, a percentage above 0 to at least 1; 0 for one that
// Check refuses.
func (s Share) Of(total int) int {
	n, percent, err := s.parse()
	switch {
	case err != nil:
		return 0
	case !percent:
		return n
	case n > 0 && total > 0:
		return max(1, total*n/100)
	}
	return 0
}

// Check says what is wrong with a share; nil for none.
func (s Share) Check() error {
	_, _, err := s.parse()
	return err
}

func (s Share) parse() (n int, percent bool, err error) {
	digits, percent := strings.CutSuffix(strings.TrimSpace(string(s)), "%")
	n, err = strconv.Atoi(digits)
	if err != nil || n < 0 || percent && n > 100 {
		return 0, false, fmt.Errorf("%q is neither a number nor a percentage from 0%% to 100%%", string(s))
	}
	return n, percent, nil
}

// unixName is what useradd accepts on every distribution that we know.
var unixName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// ValidAccount says whether a name is one that useradd and groupadd take everywhere.
func ValidAccount(name string) bool { return unixName.MatchString(name) }
