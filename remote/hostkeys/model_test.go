package hostkeys

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
	"fleetctl/remote/sshconfig"
)

// modelLine is a line of known_hosts as the model has it: nothing is indexed.
type modelLine struct {
	marker, names string
	hashed        bool
	key           int
}

// modelNames are what lines may be about; the hosts that are asked for are among them.
func modelNames() []string {
	return []string{
		"h", "[h]:2222", "*", "[h]:*", "h,[h]:2222", "*,!h", "*,![h]:2222", "!h", "?", "[?]:2222", "g", "[h]:22",
	}
}

// modelLines reads three bytes a line.
func modelLines(data []byte) []modelLine {
	var out []modelLine
	for ; len(data) >= 3 && len(out) < 12; data = data[3:] {
		l := modelLine{key: int(data[2]) % 3, names: modelNames()[int(data[1])%len(modelNames())]}
		l.marker = []string{"", "", "", "@revoked", "@cert-authority"}[int(data[0])%5]
		l.hashed = data[0]&0x80 != 0 && !strings.ContainsAny(l.names, "*?!,")
		out = append(out, l)
	}
	return out
}

// modelVerdict is check_host_key of OpenSSH for plain keys, and a revocation under any name.
func modelVerdict(lines []modelLine, names []string, key int) error {
	known := func(name, marker string) (keys []int) {
		for _, l := range lines {
			if l.marker == marker && sshconfig.MatchPatterns([]string{l.names}, name) {
				keys = append(keys, l.key)
			}
		}
		return keys
	}
	for _, name := range names {
		if slices.Contains(known(name, "@revoked"), key) {
			return fault.ErrHostKeyRevoked
		}
	}
	exact := known(names[0], "")
	switch {
	case slices.Contains(exact, key):
		return nil
	case len(exact) > 0:
		return fault.ErrHostKeyChanged
	case len(names) > 1 && slices.Contains(known(names[1], ""), key):
		return nil
	}
	return fault.ErrHostKeyUnknown
}

// FuzzCheckAgainstTheModel compares every verdict with that of a few lines that can be read beside OpenSSH's source.
func FuzzCheckAgainstTheModel(f *testing.F) {
	keys := []ssh.PublicKey{edKey(f).PublicKey(), edKey(f).PublicKey(), ecKey(f).PublicKey()}
	f.Add([]byte{0, 1, 1, 0, 0, 0})
	f.Add([]byte{0x80, 1, 1, 0x80, 0, 0})
	f.Add([]byte{0, 3, 2, 0, 0, 0, 3, 2, 1})
	f.Add([]byte{4, 2, 0, 0, 6, 1, 0, 5, 2})
	for i := range 60 { // so that it is a test of its own, too
		f.Add([]byte{byte(i), byte(i * 7), byte(i / 5), byte(i * 129), byte(i * 3), byte(i), 0, byte(i * 5), byte(i / 2)})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := modelLines(data)
		known := newKnownHosts()
		for i, l := range lines {
			names := l.names
			if l.hashed {
				names = hashedName(names)
			}
			known.parse(fmt.Sprint(i), []byte(strings.TrimSpace(l.marker+" "+keyLine(names, keys[l.key]))+"\n"), t.Logf)
		}
		for _, port := range []int{22, 2222} {
			names := HostNames("h", port)
			for i, key := range keys {
				got, want := known.Check(names, key), modelVerdict(lines, names, i)
				if !errors.Is(got, want) || (want == nil && got != nil) {
					t.Errorf("%+v\nport %d, key %d: %v, want %v", lines, port, i, got, want)
				}
			}
		}
	})
}
