package sshconfig

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestListsAreWorkedOutAsSSHDoes(t *testing.T) {
	t.Parallel()
	ssh := need(t, "ssh")
	ask := func(args ...string) Values {
		out, err := exec.Command(ssh, append(append([]string{"-G", "-F", "none"}, args...), "h")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return parseValues(string(out))
	}
	defaults := ask()
	for option, lists := range map[string][]string{
		"Ciphers":                  {"aes128-ctr", "+aes128-cbc,aes256-cbc", "+aes128-ctr", "^aes256-gcm@openssh.com,aes128-cbc", "-aes*", "-aes128-ctr,chacha*", "-*"},
		"KexAlgorithms":            {"curve25519-sha256", "+diffie-hellman-group1-sha1", "^ecdh-sha2-nistp521", "-*sha1,diffie-*", "-curve?5519*"},
		"MACs":                     {"hmac-sha1", "+hmac-md5", "^hmac-sha2-512", "-*etm*", "-*"},
		"HostKeyAlgorithms":        {"ssh-ed25519", "+ssh-rsa", "^rsa-sha2-512", "-*cert*", "-ssh-*,sk-*"},
		"CASignatureAlgorithms":    {"rsa-sha2-512", "+ssh-rsa", "-ecdsa-*"},
		"PubkeyAcceptedAlgorithms": {"rsa-sha2-512", "+ssh-rsa", "^ssh-ed25519", "-rsa-*"},
	} {
		key := strings.ToLower(option)
		for _, list := range lists {
			got := Values{key: {list}}.List(key, defaults, nil)
			want := ask("-o", option+"="+list).List(key, defaults, nil)
			if !slices.Equal(got, want) && want != nil {
				t.Errorf("%s=%s\n  is %q\n  ssh says %q", option, list, got, want)
			}
			if want == nil && !slices.Equal(got, strings.Split(defaults.First(key), ",")) {
				t.Errorf("%s=%s is %q, not the default", option, list, got)
			}
		}
	}
}

// FuzzList works out any list against any defaults: every algorithm once, none that nobody named.
func FuzzList(f *testing.F) {
	f.Add("+a,b", "c,a")
	f.Add("-*", "a,b")
	f.Add("^b", "a,b")
	f.Add(",,", "")
	f.Add("-!a,*", "a,b,c")
	f.Fuzz(func(t *testing.T, list, defaults string) {
		v, d := Values{"ciphers": {list}}, Values{"ciphers": {defaults}}
		named := strings.Split("x,"+list+","+list[min(1, len(list)):]+","+defaults, ",")
		for _, a := range v.List("ciphers", d, []string{"x"}) {
			if !slices.Contains(named, a) {
				t.Errorf("%q of %q and %q", a, list, defaults)
			}
		}
	})
}

// FuzzNames holds names against what a shell would make of them: none that it would read as more than a word gets through.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"h", "10.0.0.1", "fe80::1%eth0", "$(x)", "`x`", "a;b", "a\nb", "-x", "ü", "a\u00a0b", `DOMAIN\u`, "first last", "a -b", "a$b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ValidHost(s) && (s == "" || s[0] == '-' || strings.ContainsAny(s, "$`'\"\\;&|<>(){}, \t\n\r\v\f\x00/")) {
			t.Errorf("%q is a host", s)
		}
		if ValidUser(s) && (strings.HasPrefix(s, "-") || strings.Contains(s, " -") || strings.ContainsAny(s, "`'\";&|<>(){}\t\n\r\v\f\x00")) {
			t.Errorf("%q is a user", s)
		}
	})
}
