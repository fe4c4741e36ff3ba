package sshconfig

import (
	"slices"
	"strings"
)

// algorithmKeys are the options that are lists of algorithms, which may be empty: "-*" leaves nothing.
var algorithmKeys = []string{
	"ciphers", "kexalgorithms", "macs", "hostkeyalgorithms", "casignaturealgorithms", "pubkeyacceptedalgorithms",
}

// List returns a list of algorithms that the user set, nil where it is OpenSSH's default. Where no ssh -G has done it, the
// forms of ssh_config(5) are worked out against defaults: + appends, - takes away what matches a pattern, ^ puts in front.
func (v Values) List(key string, defaults Values, ours []string) []string {
	if len(v[key]) == 0 || v.First(key) == defaults.First(key) {
		return nil
	}
	list := v.First(key)
	if list == "" {
		return []string{}
	}
	base := ours
	if d := defaults.First(key); d != "" {
		base = strings.Split(d, ",")
	}
	rest := strings.Split(list[1:], ",")
	switch list[0] {
	case '+':
		return appendNew(slices.Clone(base), rest)
	case '^':
		return appendNew(rest, base)
	case '-':
		return slices.DeleteFunc(slices.Clone(base), func(a string) bool { return MatchPatterns(rest, a) })
	}
	return strings.Split(list, ",")
}

// appendNew appends what a list does not have yet.
func appendNew(list, more []string) []string {
	for _, a := range more {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}
