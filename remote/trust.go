package remote

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
	"fleetctl/remote/hostkeys"
)

// knownHosts returns the index of a host's known_hosts files.
func (d *Dialer) knownHosts(s *settings) (*hostkeys.KnownHosts, error) {
	files := slices.Concat(s.userKnown, s.globalKnown)
	id := strings.Join(slices.Concat(files, []string{""}, s.revokedKeys), "\x00")
	d.mu.Lock()
	k := d.known[id]
	if k == nil {
		k = &knownFiles{}
		d.known[id] = k
	}
	d.mu.Unlock()
	k.once.Do(func() {
		k.hosts, k.err = hostkeys.Load(files, d.opts.Logf)
		for _, f := range s.revokedKeys {
			if k.err == nil {
				k.err = k.hosts.Revoke(f)
			}
		}
	})
	if fault.Short(k.err) { // the next host reads them again
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.known, id)
	}
	return k.hosts, k.err
}

// checkHostKey applies the policy. accept-new trusts hosts that are not known, never a key that changed; off trusts both,
// but says of a key that changed that it did.
func (d *Dialer) checkHostKey(t Target, s *settings, known *hostkeys.KnownHosts, names []string, key ssh.PublicKey) error {
	err := known.Check(names, key, s.algorithms.ca...)
	switch {
	case err == nil || errors.Is(err, ErrHostKeyRevoked):
		return err
	case d.opts.HostKeyChecking == "off" && !errors.Is(err, ErrHostKeyChanged):
		return nil
	case d.opts.HostKeyChecking != "accept-new" || !errors.Is(err, ErrHostKeyUnknown):
		return err
	}
	file := ""
	if len(s.userKnown) > 0 && s.userKnown[0] != os.DevNull {
		file = s.userKnown[0]
	}
	d.accepting.Lock() // lists of files may have their first one in common
	err = known.Accept(file, names[0], key, s.hashKnown)
	d.accepting.Unlock()
	if err != nil {
		return cannotAccept(err)
	}
	fingerprint := ssh.FingerprintSHA256(key)
	d.opts.Logf("%s: trusted on first use: %s %s", t.Name, key.Type(), fingerprint)
	if d.opts.Accepted != nil {
		d.opts.Accepted(t.Name, fingerprint)
	}
	return nil
}

// cannotAccept is why a new key was not trusted after all: another one was first, or it cannot be written down.
func cannotAccept(err error) error {
	var refused *hostkeys.Error
	if errors.As(err, &refused) {
		return err
	}
	return &hostkeys.Error{
		Kind: ErrConfig, Text: fmt.Sprintf("the host's new key cannot be recorded, so it is not trusted: %v", err),
		Hint: "see the first UserKnownHostsFile, its owner and its mode",
	}
}
