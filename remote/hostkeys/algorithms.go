package hostkeys

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Algorithms returns the host key algorithms to ask for: those the host is known by first, certificates before keys, then,
// because a hashed line does not tell whose it is, those of the hashed lines, then the others, so that a changed key is seen
// as changed.
func (k *KnownHosts) Algorithms(names []string) []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var algs []string
	add := func(list []string) {
		for _, a := range list {
			if !slices.Contains(algs, a) {
				algs = append(algs, a)
			}
		}
	}
	for _, authority := range []bool{true, false} {
		for _, name := range names {
			for _, e := range k.plain(name) {
				if e.authority == authority {
					add(keyAlgorithms(e))
				}
			}
		}
	}
	supported := ssh.SupportedAlgorithms().HostKeys
	for _, a := range supported {
		if slices.Contains(k.hashedAlg, underlyingType(a)) && !strings.Contains(a, "-cert-") {
			add([]string{a})
		}
	}
	add(supported)
	return algs
}

// keyAlgorithms are the algorithms that prove possession of a known key, strongest first; of an authority's line those of
// certificates for keys of any type.
func keyAlgorithms(e *knownKey) []string {
	var algs []string
	for _, a := range ssh.SupportedAlgorithms().HostKeys {
		if isCert := strings.Contains(a, "-cert-"); isCert == e.authority && (isCert || underlyingType(a) == e.kind) {
			algs = append(algs, a)
		}
	}
	if !e.authority {
		slices.SortFunc(algs, func(a, b string) int { return strings.Compare(b, a) }) // rsa-sha2-512 before -256
	}
	return algs
}

func underlyingType(alg string) string {
	if alg == ssh.KeyAlgoRSASHA256 || alg == ssh.KeyAlgoRSASHA512 {
		return ssh.KeyAlgoRSA
	}
	return alg
}
