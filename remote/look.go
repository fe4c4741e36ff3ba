package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/hostkeys"
)

// HostKey is a key that a host showed.
type HostKey struct {
	Type        string // as in known_hosts
	Fingerprint string // SHA256:…, as ssh-keygen -l prints it
	Blob        []byte // the key as SSH sends it (RFC 4253, section 6.6)
	Err         error  // nil: it is known; else ErrHostKeyUnknown, ErrHostKeyChanged or ErrHostKeyRevoked with what is known
}

// HostKeys is what a host showed to somebody who doesn't log in.
type HostKeys struct {
	Addr string    // what was dialled, with the port
	Name string    // in known_hosts
	DNS  string    // the name that DNS may have SSHFP records of; "" for an address
	File string    // where Record writes to; "": there is no file
	Keys []HostKey // of a host that is known: the one that is
}

// Known reports whether the host is known by a key that it showed.
func (h HostKeys) Known() bool {
	return slices.ContainsFunc(h.Keys, func(k HostKey) bool { return k.Err == nil })
}

// errLooked ends a handshake whose host key was all that was wanted.
var errLooked = errors.New("its host key was looked at")

// HostKeys asks a host for its keys, one connection a type, through its jump hosts, and doesn't log in. It stops at a key that
// is known, and records nothing.
func (d *Dialer) HostKeys(ctx context.Context, t Target) (HostKeys, error) {
	s, err := d.resolve(ctx, t)
	if err != nil {
		return HostKeys{}, dialError(ctx, err)
	}
	known, err := d.knownHosts(s)
	if err != nil {
		return HostKeys{}, dialError(ctx, err)
	}
	names := s.knownNames()
	found := HostKeys{Addr: s.addr(), Name: names[0]}
	if net.ParseIP(s.host) == nil {
		found.DNS = s.host
	}
	if len(s.userKnown) > 0 {
		found.File = s.userKnown[0]
	}
	for _, algs := range [][]string{
		{ssh.KeyAlgoED25519}, {ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521}, {ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
	} {
		if algs = restrict(algs, s.algorithms.hostKeys); len(algs) == 0 {
			continue
		}
		key, err := d.lookAt(ctx, t, s, algs)
		if err != nil {
			return found, dialError(ctx, err)
		}
		if key == nil {
			continue
		}
		if err = d.ask(ctx, s, known, "HOSTNAME", names[0], key); err == nil {
			err = known.Check(names, key, s.algorithms.ca...)
		}
		k := HostKey{Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), Blob: key.Marshal(), Err: s.advise(err)}
		if err == nil {
			found.Keys = []HostKey{k}
			return found, nil
		}
		found.Keys = append(found.Keys, k)
	}
	if len(found.Keys) == 0 {
		return found, &Error{Kind: ErrConfig, Err: fmt.Errorf("%s has no host key of a type that is known here", s.addr())}
	}
	return found, nil
}

// lookAt asks for one of the algorithms. A nil key means that the host has none of them.
func (d *Dialer) lookAt(ctx context.Context, t Target, s *settings, algs []string) (ssh.PublicKey, error) {
	l := newLogin(nil, nil, "", s)
	seen := make(chan ssh.PublicKey, 1)
	l.look = func(key ssh.PublicKey) {
		select {
		case seen <- key:
		default:
		}
	}
	tries, penalised := 0, 0
	for {
		_, fail := d.attempt(ctx, t, s, l, algs)
		select {
		case key := <-seen:
			return key, nil
		default:
		}
		switch {
		case fail == nil:
			return nil, errLooked // it let us in before it showed a key
		case fail.lacks:
			return nil, nil
		case ctx.Err() == nil && fail.paced && d.penalties.add(ctx, s.addr(), d.opts.PenaltyPause, &penalised):
		case ctx.Err() == nil && fail.retry && tries < d.opts.Retries:
			if tries++; pause(ctx, tries) != nil {
				return nil, fail.err
			}
		default:
			return nil, fail.err
		}
	}
}

// Record adds new keys of a host to its known_hosts file. It decides again, with the file locked: nothing is added to a host
// of which something else is known by then.
func (d *Dialer) Record(ctx context.Context, t Target, keys []HostKey) error {
	s, err := d.resolve(ctx, t)
	if err != nil {
		return err
	}
	if len(s.userKnown) == 0 || strings.HasPrefix(s.userKnown[0], "/dev/") {
		return &Error{Kind: ErrConfig, Err: errors.New("there is no known_hosts file"), Hint: "see UserKnownHostsFile"}
	}
	known, err := d.knownHosts(s)
	if err != nil {
		return err
	}
	var parsed []ssh.PublicKey
	for _, k := range keys {
		key, err := ssh.ParsePublicKey(k.Blob)
		if err != nil {
			return &Error{Kind: ErrConfig, Err: fmt.Errorf("key: %w", err)}
		}
		parsed = append(parsed, key)
	}
	d.accepting.Lock()
	defer d.accepting.Unlock()
	err = known.Record(s.userKnown[0], s.knownNames()[0], s.hashKnown, parsed...)
	var refused *hostkeys.Error
	if errors.As(err, &refused) {
		return &Error{Kind: refused.Kind, Err: errors.New(refused.Text), Hint: hintOf(s.advise(err))}
	}
	if err != nil {
		return &Error{Kind: ErrConfig, Err: fmt.Errorf("%s: %w", s.userKnown[0], err)}
	}
	return nil
}

// Hops are the jump hosts of a target as targets, in the order in which they are connected to.
func (d *Dialer) Hops(ctx context.Context, t Target) []Target {
	s, err := d.resolve(ctx, t)
	if err != nil || !s.isSet(s.proxyJump) || s.isSet(s.proxyCommand) {
		return nil
	}
	var hops []Target
	for chain := s.proxyJump; chain != ""; {
		hop, before, err := parseHop(chain)
		if err != nil {
			return nil
		}
		if s.config != "" {
			hop.SSHArgs = append(hop.SSHArgs, "-F", s.config)
		}
		if before != "" {
			hop.SSHArgs = append(hop.SSHArgs, "-J", before)
		}
		hops = append([]Target{hop}, hops...)
		chain = before
	}
	return hops
}
