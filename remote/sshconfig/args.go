package sshconfig

import (
	"fmt"
	"strings"
)

// sshArgs is what Target.SSHArgs say, for ssh -G and for us.
type sshArgs struct {
	Config string   // of -F
	Jump   string   // of -J
	argv   []string // what ssh -G is given, in pairs: -o, -i, -J, -p, -l, -b, -c, -m and a value
}

const (
	argsIgnored = "AaCfGgKkMNnqsTtVvXxYy"  // flags about terminals, forwarding and logging: nothing to us
	argsValued  = "BbcDEeFIiJLlmOoPpQRSWw" // take a value, in the same word or the next one
	argsKeptVal = "bcFiJlmop"
)

// ParseArgs reads arguments as OpenSSH's client does.
func ParseArgs(args []string) (sshArgs, error) {
	var a sshArgs
	for i := 0; i < len(args); i++ {
		word := args[i]
		if len(word) < 2 || word[0] != '-' || word == "--" {
			return a, fmt.Errorf("ssh argument %q: only options are understood", word)
		}
		for j := 1; j < len(word); j++ {
			letter := word[j]
			if !strings.ContainsRune(argsValued, rune(letter)) {
				if err := a.flag(letter); err != nil {
					return a, err
				}
				continue
			}
			value := word[j+1:]
			if value == "" {
				if i++; i >= len(args) {
					return a, fmt.Errorf("ssh argument -%c needs a value", letter)
				}
				value = args[i]
			}
			a.value(letter, value)
			break
		}
	}
	return a, nil
}

func (a *sshArgs) flag(letter byte) error {
	switch {
	case letter == '4':
		a.argv = append(a.argv, "-o", "AddressFamily=inet")
	case letter == '6':
		a.argv = append(a.argv, "-o", "AddressFamily=inet6")
	case strings.IndexByte(argsIgnored, letter) < 0:
		return fmt.Errorf("ssh argument -%c is not known", letter)
	}
	return nil
}

func (a *sshArgs) value(letter byte, value string) {
	if strings.IndexByte(argsKeptVal, letter) < 0 {
		return
	}
	switch letter {
	case 'F':
		a.Config = value
		return
	case 'J':
		a.Jump = value
	}
	a.argv = append(a.argv, "-"+string(letter), value)
}
