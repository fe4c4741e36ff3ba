package sshconfig

import (
	"os"
	"os/user"
)

// Values are the options of one host as ssh -G prints them: lower-case keys, in order.
type Values map[string][]string

// First is the first value of an option; "" for none.
func (v Values) First(key string) string {
	if l := v[key]; len(l) > 0 {
		return l[0]
	}
	return ""
}

// Yes reads an option that is yes or no; unset is what counts where it has no value.
func (v Values) Yes(key string, unset bool) bool {
	switch v.First(key) {
	case "":
		return unset
	case "yes", "true":
		return true
	}
	return false
}

// HomeDir is the home of the user who runs this, as OpenSSH finds it: the password database first.
func HomeDir() string {
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		return u.HomeDir
	}
	return os.Getenv("HOME")
}
