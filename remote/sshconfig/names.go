package sshconfig

import "strings"

// What a host's and a user's name may hold. They end up in command lines (ProxyCommand, Match exec), where a shell reads
// them, so these rules are those of OpenSSH for names of its command line (ssh_valid_hostname and ssh_valid_ruser in
// readconf.c, 10.5; valid_hostname and valid_ruser in ssh.c from 9.6 on).
const (
	notInHost = "'`\"$\\;&<>|(){},"
	notInUser = "'`\";&<>|(){}"
	spaces    = " \t\n\v\f\r"
)

// ValidHost reports whether a name or an address may be a host's.
func ValidHost(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsAny(s, notInHost+spaces+"/") && !hasControl(s)
}

// ValidUser reports whether a name may be a user's; none is.
func ValidUser(s string) bool {
	return !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, `\`) && !strings.Contains(s, " -") &&
		!strings.ContainsAny(s, notInUser) && !hasControl(s)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// Users are the users that arguments name (-l, -o User).
func (a sshArgs) Users() []string {
	var out []string
	for i := 0; i+1 < len(a.argv); i += 2 {
		if key, value := argOption(a.argv[i], a.argv[i+1]); key == "user" {
			out = append(out, value)
		}
	}
	return out
}
