package enroll

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/work"
	"fleetctl/remote"
	"fleetctl/remote/sshfp"
)

// What a host is to known_hosts.
const (
	HostKnown   = "known"
	HostNew     = "new"
	HostChanged = "changed"
	HostRevoked = "revoked"
	HostFailed  = "failed" // it showed no key
)

// What vouches for a key, beside whoever looks at it.
const (
	ByFile = "fingerprints" // the file of fingerprints
	ByDNS  = "sshfp"        // SSHFP records that DNSSEC has authenticated
)

// KeyReader asks hosts for their keys and records them; *remote.Dialer is one.
type KeyReader interface {
	HostKeys(ctx context.Context, t remote.Target) (remote.HostKeys, error)
	Record(ctx context.Context, t remote.Target, keys []remote.HostKey) error
	Hops(ctx context.Context, t remote.Target) []remote.Target
}

// KnownHostsOptions say what is to be done with keys.
type KnownHostsOptions struct {
	Keys         KeyReader
	Reach        work.Reach
	Fingerprints Fingerprints // nil: there is no file
	DNS          func(ctx context.Context, name string) (sshfp.Answer, error)
	Write        bool // new keys are recorded, after Confirm
	Yes          bool // nobody is asked
}

// KnownKey is a key of a host.
type KnownKey struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
	Vouched     string `json:"vouched,omitempty"` // ByFile or ByDNS
	Note        string `json:"note,omitempty"`    // what else is known of it
	Against     bool   `json:"against,omitempty"` // what should vouch for it says something else: it is not recorded
	key         remote.HostKey
}

// KnownHost is a host and its keys.
type KnownHost struct {
	Host    string     `json:"host"`
	Address string     `json:"address"`
	Status  string     `json:"status"`
	Keys    []KnownKey `json:"keys,omitempty"`
	Written bool       `json:"written,omitempty"`
	outcome.Reason
	target remote.Target
}

// KnownHosts asks the chosen hosts, and their jump hosts, for their keys and, where that is meant, records those of hosts of
// which none is known. The error is ErrHostsFailed when a host has another key than is known, showed none, or is new and was
// to be recorded and wasn't.
func KnownHosts(ctx context.Context, f Fleet, opts KnownHostsOptions) ([]KnownHost, error) {
	hosts := f.keyTargets(ctx, opts)
	work.Each(ctx, opts.Reach.Forks, opts.Reach.Timeout, hosts, func(ctx context.Context, i int, h KnownHost) {
		if h.Status == "" {
			hosts[i] = opts.look(ctx, h)
		}
	})
	var err error
	if opts.Write && ctx.Err() == nil {
		err = f.writeKeys(ctx, opts, hosts)
	}
	if ctx.Err() != nil {
		return hosts, ctx.Err()
	}
	bad := 0
	for _, h := range hosts {
		if h.Status != HostKnown && (h.Status != HostNew || opts.Write && !h.Written) {
			bad++
		}
	}
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d %w", bad, len(hosts), outcome.ErrHostsFailed)
	}
	return hosts, err
}

// keyTargets are the jump hosts, and then the hosts.
func (f Fleet) keyTargets(ctx context.Context, opts KnownHostsOptions) []KnownHost {
	var hops, hosts []KnownHost
	for _, h := range f.Hosts {
		t, err := opts.Reach.Target(h)
		if err != nil {
			hosts = append(hosts, KnownHost{Host: h.Name, Status: HostFailed, Reason: outcome.ReasonOf(err)})
			continue
		}
		for _, hop := range opts.Keys.Hops(ctx, t) {
			if !slices.ContainsFunc(hops, func(other KnownHost) bool {
				return other.Host == hop.Name && other.target.Port == hop.Port
			}) {
				hops = append(hops, KnownHost{Host: hop.Name, target: hop})
			}
		}
		hosts = append(hosts, KnownHost{Host: h.Name, target: t})
	}
	return append(hops, hosts...)
}

// look asks one host.
func (o KnownHostsOptions) look(ctx context.Context, h KnownHost) KnownHost {
	var found remote.HostKeys
	err := o.Reach.Patiently(ctx, func() (err error) {
		found, err = o.Keys.HostKeys(ctx, h.target)
		return err
	})
	h.Address = found.Addr
	if err != nil {
		h.Status, h.Reason = HostFailed, outcome.ReasonOf(err)
		return h
	}
	h.Status = HostNew
	var dns sshfp.Answer
	if o.DNS != nil && found.DNS != "" && !found.Known() {
		if dns, err = o.DNS(ctx, found.DNS); err != nil {
			h.Message = err.Error()
		}
	}
	for _, k := range found.Keys {
		key := KnownKey{Type: k.Type, Fingerprint: k.Fingerprint, key: k}
		switch {
		case k.Err == nil:
			h.Status = HostKnown
		case errors.Is(k.Err, remote.ErrHostKeyRevoked):
			h.Status, h.Reason = HostRevoked, outcome.ReasonOf(k.Err)
		case errors.Is(k.Err, remote.ErrHostKeyChanged) && h.Status == HostNew:
			h.Status, h.Reason = HostChanged, outcome.ReasonOf(k.Err)
		}
		if k.Err != nil {
			key.compareDNS(dns)
			key.compareFile(o.Fingerprints, h.Host, h.target.Host, found.Name, strings.TrimPrefix(h.Host, "jump host "))
		}
		h.Keys = append(h.Keys, key)
	}
	return h
}

// compareDNS holds a key against SSHFP records. They count only when DNSSEC has authenticated them.
func (k *KnownKey) compareDNS(dns sshfp.Answer) {
	digest := sha256.Sum256(k.key.Blob)
	said, same := false, false
	for _, r := range dns.Records {
		if r.Algorithm == sshfp.Algorithm(k.Type) {
			said, same = true, same || bytes.Equal(r.SHA256, digest[:])
		}
	}
	switch {
	case !said:
	case same && dns.Authentic:
		k.Vouched = ByDNS
	case same:
		k.Note = "SSHFP has it, without DNSSEC: insecure"
	case dns.Authentic:
		k.Note, k.Against = "SSHFP, authenticated by DNSSEC, has another key", true
	default:
		k.Note = "SSHFP has another key, without DNSSEC: insecure"
	}
}

// compareFile holds a key against the file of fingerprints, in which the host may have any of its names.
func (k *KnownKey) compareFile(file Fingerprints, names ...string) {
	if file == nil {
		return
	}
	listed := false
	for _, name := range names {
		for _, fp := range file[strings.ToLower(name)] {
			if listed = true; fp == k.Fingerprint {
				k.Vouched, k.Against = ByFile, false
				return
			}
		}
	}
	k.Against = true
	k.Note = "the file of fingerprints does not have the host"
	if listed {
		k.Note = "the file of fingerprints does not have this key"
	}
}

// toWrite are the keys of a new host that may be recorded: with something that vouches, what it vouches for.
func (h KnownHost) toWrite() []remote.HostKey {
	if h.Status != HostNew {
		return nil
	}
	var keys []remote.HostKey
	vouched := slices.ContainsFunc(h.Keys, func(k KnownKey) bool { return k.Vouched != "" })
	for _, k := range h.Keys {
		if !k.Against && (k.Vouched != "" || !vouched) {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// writeKeys records what may be, after a yes.
func (f Fleet) writeKeys(ctx context.Context, opts KnownHostsOptions, hosts []KnownHost) error {
	keys, count, vouched := 0, 0, true
	for _, h := range hosts {
		if n := len(h.toWrite()); n > 0 {
			keys, count = keys+n, count+1
			vouched = vouched && slices.ContainsFunc(h.Keys, func(k KnownKey) bool { return k.Vouched != "" })
		}
	}
	if count == 0 {
		return nil
	}
	f.Watcher.Note(KeysToTrust{trusted(hosts)})
	question := fmt.Sprintf("add %d keys of %d hosts to known_hosts", keys, count)
	if !vouched {
		question += ", of which nothing but you vouches for some"
	}
	if !opts.Yes && (f.Confirm == nil || !f.Confirm(question+"?")) {
		return outcome.Mark(&outcome.InputError{
			Msg: fmt.Sprintf("nobody has confirmed the keys of %d new hosts; nothing was written", count),
		}, ErrUnconfirmedKeys)
	}
	var mu sync.Mutex
	work.Each(ctx, opts.Reach.Forks, 0, hosts, func(ctx context.Context, i int, h KnownHost) {
		keys := h.toWrite()
		if len(keys) == 0 || ctx.Err() != nil {
			return
		}
		err := opts.Keys.Record(ctx, h.target, keys)
		mu.Lock()
		defer mu.Unlock()
		if hosts[i].Written = err == nil; err != nil {
			hosts[i].Reason = outcome.ReasonOf(err)
		}
	})
	return nil
}

// trusted are the hosts whose keys are to be recorded, with those keys.
func trusted(hosts []KnownHost) []KnownHost {
	var out []KnownHost
	for _, h := range hosts {
		keys := h.toWrite()
		h.Keys = slices.DeleteFunc(slices.Clone(h.Keys), func(k KnownKey) bool {
			return !slices.ContainsFunc(keys, func(other remote.HostKey) bool { return other.Fingerprint == k.Fingerprint })
		})
		if len(h.Keys) > 0 {
			out = append(out, h)
		}
	}
	return out
}

// ErrUnconfirmedKeys says that nobody has said yes to new keys.
var ErrUnconfirmedKeys = errors.New("nobody has confirmed the keys")

// Fingerprints are what a file says of hosts: SHA256:… by the host's name, lower case.
type Fingerprints map[string][]string

// ReadFingerprints reads a file with a line a key: names of the host (that of the inventory, its address, or "[address]:port")
// and a fingerprint, in any order. So what ssh-keygen -l prints can be used as it is, if the key's comment is the host's name.
// Empty lines and those that begin with # say nothing.
func ReadFingerprints(path string) (Fingerprints, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := Fingerprints{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		print := ""
		var names []string
		for _, w := range words {
			switch {
			case strings.HasPrefix(w, "SHA256:"):
				print = cmp.Or(print, strings.TrimRight(w, "="))
			case strings.Trim(w, "0123456789") != "" && w[0] != '(': // no size, no type
				names = append(names, strings.Split(strings.ToLower(w), ",")...)
			}
		}
		if print == "" || len(names) == 0 {
			return nil, fmt.Errorf("%s:%d: it takes a host's name and a fingerprint, SHA256:…", path, n)
		}
		for _, name := range names {
			f[name] = append(f[name], print)
		}
	}
	return f, nil
}
