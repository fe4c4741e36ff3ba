package values

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Ansible reads YAML 1.1 (PyYAML), where yes and off are booleans, 0644 is octal, 1:30 is ninety and a date is a date;
// yaml.v3 reads YAML 1.2. The types of plain scalars below are those of https://yaml.org/type/, as PyYAML has them.
var (
	yamlInt = regexp.MustCompile(`^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|` +
		`[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	yamlFloat = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|` +
		`[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	yamlTime = regexp.MustCompile(`^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:(?:[Tt]|[ \t]+)` +
		`([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?(?:[ \t]*(Z|([-+])([0-9]{1,2})(?::([0-9]{2}))?))?)?$`)
)

// PlainScalar is the value of a scalar without quotes and tag.
func PlainScalar(s string) (any, error) {
	if s == "" {
		return nil, nil
	}
	switch c := s[0]; {
	case c == '~':
		if s == "~" {
			return nil, nil
		}
	case strings.IndexByte("yYnNtTfFoO", c) >= 0:
		return PlainWord(s), nil
	case c >= '0' && c <= '9' || c == '.' || c == '+' || c == '-':
		return plainNumber(s)
	}
	return s, nil
}

// PlainWord reads the words of YAML 1.1 for true and false; any other text stays what it is.
func PlainWord(s string) any {
	switch s {
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false
	case "null", "Null", "NULL":
		return nil
	}
	return s
}

func plainNumber(s string) (any, error) {
	if len(s) > 64 || strings.Count(s, ".") > 1 {
		return longNumber(s)
	}
	switch {
	case yamlFloat.MatchString(s):
		return ParseYAMLFloat(s)
	case yamlInt.MatchString(s):
		return ParseYAMLInt(s)
	case len(s) >= 8 && s[min(4, len(s)-1)] == '-' && isTimestamp(s):
		return ParseTimestamp(s)
	}
	return s, nil
}

// longNumber spares addresses and long texts the regular expressions, but not long integers.
func longNumber(s string) (any, error) {
	if strings.Trim(s[1:], "0123456789_abcdefABCDEFx") == "" && yamlInt.MatchString(s) {
		return ParseYAMLInt(s)
	}
	return s, nil
}

// isTimestamp: a date alone must have all its digits, a date with a time need not.
func isTimestamp(s string) bool {
	return yamlTime.MatchString(s) && (len(s) == len("2006-01-02") || strings.ContainsRune(s, ':'))
}

// ParseYAMLInt reads a whole number of YAML 1.1: an int, or a *big.Int where it is larger.
func ParseYAMLInt(s string) (any, error) {
	text := strings.ReplaceAll(s, "_", "")
	sign, digits := "", text
	if text != "" && (text[0] == '-' || text[0] == '+') {
		sign, digits = strings.TrimPrefix(text[:1], "+"), text[1:]
	}
	base := 10
	switch {
	case strings.IndexByte(digits, ':') >= 0:
		return sexagesimalInt(sign, digits)
	case strings.HasPrefix(digits, "0b"):
		base, digits = 2, digits[2:]
	case strings.HasPrefix(digits, "0x"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	}
	return makeInt(sign+digits, base)
}

// makeInt is an int, or a *big.Int where an int is too small.
func makeInt(digits string, base int) (any, error) {
	if n, err := strconv.ParseInt(digits, base, strconv.IntSize); err == nil {
		return int(n), nil
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok {
		return nil, fmt.Errorf("%q is no integer", digits)
	}
	return n, nil
}

func sexagesimalInt(sign, digits string) (any, error) {
	sum, sixty := new(big.Int), big.NewInt(60)
	for part := range strings.SplitSeq(digits, ":") {
		n, ok := new(big.Int).SetString(part, 10)
		if !ok {
			return nil, fmt.Errorf("%q is no integer", digits)
		}
		sum.Add(sum.Mul(sum, sixty), n)
	}
	return makeInt(sign+sum.String(), 10)
}

// ParseYAMLFloat reads a float of YAML 1.1: a float64, with .inf and .nan.
func ParseYAMLFloat(s string) (any, error) {
	text := strings.ToLower(strings.ReplaceAll(s, "_", ""))
	sign := 1.0
	if text != "" && (text[0] == '-' || text[0] == '+') {
		if text[0] == '-' {
			sign = -1
		}
		text = text[1:]
	}
	switch text {
	case ".inf":
		return math.Inf(int(sign)), nil
	case ".nan":
		return math.NaN(), nil
	}
	parts := strings.Split(text, ":")
	sum, base := 0.0, 1.0
	for i := len(parts) - 1; i >= 0; i-- {
		n, err := pythonFloat(parts[i])
		if err != nil {
			return nil, err
		}
		sum, base = sum+n*base, base*60
	}
	return sign * sum, nil
}

// pythonFloat parses a decimal float; too large is infinite, as in Python.
func pythonFloat(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return f, nil
}

// ParseTimestamp returns a date or a time as Ansible writes it into JSON: ISO 8601 as Python's isoformat has it.
func ParseTimestamp(s string) (any, error) {
	m := yamlTime.FindStringSubmatch(s)
	if m == nil {
		return nil, fmt.Errorf("%q is no date", s)
	}
	num := func(i int) int { n, _ := strconv.Atoi(m[i]); return n } // the expression matched digits or nothing
	t := time.Date(num(1), time.Month(num(2)), num(3), num(4), num(5), num(6), 0, time.UTC)
	same := t.Year() == num(1) && int(t.Month()) == num(2) && t.Day() == num(3) &&
		t.Hour() == num(4) && t.Minute() == num(5) && t.Second() == num(6)
	if !same || num(1) == 0 {
		return nil, fmt.Errorf("%q looks like a date, but there is no such day or time; quote it", s)
	}
	if m[4] == "" {
		return t.Format(time.DateOnly), nil
	}
	out := t.Format("2006-01-02T15:04:05")
	if fraction := strings.TrimRight(m[7], "0"); fraction != "" {
		if micros := (m[7] + "000000")[:6]; micros != "000000" {
			out += "." + micros
		}
	}
	switch {
	case m[9] != "":
		out += fmt.Sprintf("%s%02d:%02d", m[9], num(10), num(11))
	case m[8] != "":
		out += "+00:00"
	}
	return out, nil
}

// PythonInt is what int(value) gives in Python, as far as it fits an int.
func PythonInt(value any) (int, bool) {
	switch v := value.(type) {
	case int:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case float64:
		if math.Abs(v) < 1<<53 {
			return int(v), true
		}
	case string:
		n, err := strconv.Atoi(strings.TrimSpace(v))
		return n, err == nil
	case Unsafe:
		return PythonInt(string(v))
	}
	return 0, false
}
