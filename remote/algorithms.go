package remote

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/hostkeys"
	"fleetctl/remote/sshconfig"
)

// algorithms are the lists of ssh_config(5) that the user set; nil for OpenSSH's defaults, which are not ours.
type algorithms struct {
	ciphers, kex, macs []string // of those that we know
	hostKeys           []string
	ca                 []string // CASignatureAlgorithms
	publicKeys         []string // PubkeyAcceptedAlgorithms
}

// readAlgorithms reads the lists. One of which we know nothing is refused: an empty list would mean anything.
func readAlgorithms(v, defaults sshconfig.Values) (algorithms, error) {
	can, cannot := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms() // what is insecure is used when it is named
	var a algorithms
	for _, l := range []struct {
		option    string
		to        *[]string
		ours, all []string
	}{
		{"Ciphers", &a.ciphers, can.Ciphers, cannot.Ciphers},
		{"KexAlgorithms", &a.kex, can.KeyExchanges, cannot.KeyExchanges},
		{"MACs", &a.macs, can.MACs, cannot.MACs},
		{"HostKeyAlgorithms", &a.hostKeys, can.HostKeys, cannot.HostKeys},
		{"CASignatureAlgorithms", &a.ca, hostkeys.CAAlgorithms(), []string{ssh.KeyAlgoRSA}},
		{"PubkeyAcceptedAlgorithms", &a.publicKeys, slices.Concat(certificateAlgorithms(), can.PublicKeyAuths), cannot.PublicKeyAuths},
	} {
		list := v.List(strings.ToLower(l.option), defaults, l.ours)
		if list == nil {
			continue
		}
		known := supported(list, slices.Concat(l.ours, l.all))
		if len(known) == 0 {
			return a, fmt.Errorf("%s allows only %s, of which none is known here: add one of %s",
				l.option, orNothing(list), strings.Join(l.ours, ", "))
		}
		*l.to = known
	}
	return a, nil
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return Clean(strings.Join(list, ", "))
}

// certificateAlgorithms are the types of certificates that a user may have.
func certificateAlgorithms() []string {
	return []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoSKED25519v01, ssh.CertAlgoSKECDSA256v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
		ssh.CertAlgoRSAv01,
	}
}

// cipherOrder puts AES-GCM first, which costs half of what ChaCha20-Poly1305 does where the processor knows AES.
func cipherOrder(user []string) []string {
	if user != nil {
		return user
	}
	out := []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	for _, c := range ssh.SupportedAlgorithms().Ciphers {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// orAll is what the user asked for, or everything where nothing was said.
func orAll(user, can []string) []string {
	if user != nil {
		return user
	}
	return can
}

// supported keeps what the user asked for and we can do.
func supported(user, can []string) []string {
	var out []string
	for _, a := range user {
		if slices.Contains(can, a) {
			out = append(out, a)
		}
	}
	return out
}

// restrict keeps the algorithms that the user allows; insecure ones that were named come last.
func restrict(algs, allowed []string) []string {
	if allowed == nil {
		return algs
	}
	out := supported(algs, allowed)
	return append(out, supported(allowed, ssh.InsecureAlgorithms().HostKeys)...)
}

// accepted restricts a key to the algorithms that the user lets it sign with; nil: to none.
func (a algorithms) accepted(key ssh.Signer) ssh.Signer {
	if a.publicKeys == nil {
		return key
	}
	kind, cert := strings.CutSuffix(key.PublicKey().Type(), certSuffix)
	suffix := ""
	if cert {
		suffix = certSuffix
	}
	signer, ok := key.(ssh.AlgorithmSigner)
	if kind != ssh.KeyAlgoRSA || !ok {
		if slices.Contains(a.publicKeys, key.PublicKey().Type()) {
			return key
		}
		return nil
	}
	var may []string
	for _, alg := range []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA} {
		if slices.Contains(a.publicKeys, alg+suffix) {
			may = append(may, alg)
		}
	}
	restricted, err := ssh.NewSignerWithAlgorithms(signer, may)
	if err != nil { // none is left
		return nil
	}
	return restricted
}

const certSuffix = "-cert-v01@openssh.com"
