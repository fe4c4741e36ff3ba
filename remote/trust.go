package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/fault"
	"fleetctl/remote/hostkeys"
	"fleetctl/remote/sshconfig"
)

// knownHosts returns the index of a host's known_hosts files. Where a command adds to them it is for this connection alone.
func (d *Dialer) knownHosts(s *settings) (*hostkeys.KnownHosts, error) {
	if len(s.knownCommand) > 0 {
		return d.readKnown(s)
	}
	id := strings.Join(slices.Concat(s.userKnown, []string{""}, s.globalKnown, []string{""}, s.revokedKeys), "\x00")
	d.mu.Lock()
	k := d.known[id]
	if k == nil {
		k = &knownFiles{}
		d.known[id] = k
	}
	d.mu.Unlock()
	k.once.Do(func() { k.hosts, k.err = d.readKnown(s) })
	if fault.Short(k.err) { // the next host reads them again
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.known, id)
	}
	return k.hosts, k.err
}

// readKnown reads the files. One of the system's that cannot be read is passed over, as OpenSSH does.
func (d *Dialer) readKnown(s *settings) (*hostkeys.KnownHosts, error) {
	known, err := hostkeys.Load(s.userKnown, d.opts.Logf)
	if err != nil {
		return nil, err
	}
	for _, f := range s.globalKnown {
		switch err := known.Read(f, d.opts.Logf); {
		case fault.Short(err):
			return nil, err
		case err != nil:
			d.warn("known "+f, fmt.Sprintf("%s is passed over: %v", f, errors.Unwrap(cause(err))))
		}
	}
	for _, f := range s.revokedKeys {
		if err := known.Revoke(f); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// cause is an error without its kind.
func cause(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err
	}
	return err
}

// ask runs KnownHostsCommand and adds the lines that it prints (ssh_config(5)). why is ORDER, before anything of the host is
// known, or HOSTNAME, about the key that it shows.
func (d *Dialer) ask(ctx context.Context, s *settings, known *hostkeys.KnownHosts, why, name string, key ssh.PublicKey) error {
	if len(s.knownCommand) == 0 {
		return nil
	}
	kind, fingerprint, blob := "NONE", "NONE", "NONE"
	if key != nil {
		kind, fingerprint = key.Type(), ssh.FingerprintSHA256(key)
		blob = strings.Fields(string(ssh.MarshalAuthorizedKey(key)))[1]
	}
	own := strings.NewReplacer(
		"%%", "%%", "%I", escape(why), "%H", escape(name), "%t", escape(kind), "%f", escape(fingerprint), "%K", escape(blob),
	)
	argv := make([]string, len(s.knownCommand))
	for i, word := range s.knownCommand {
		var err error
		if argv[i], err = s.expandTokens(own.Replace(word), fileTokens); err != nil {
			return &Error{Kind: ErrConfig, Err: fmt.Errorf("KnownHostsCommand: %w", err)}
		}
	}
	if !filepath.IsAbs(argv[0]) {
		return &Error{Kind: ErrConfig, Err: fmt.Errorf("KnownHostsCommand: %s is not an absolute path", Clean(argv[0]))}
	}
	ctx, cancel := context.WithTimeout(ctx, d.handshakeLimit(s))
	defer cancel()
	out, err := sshconfig.Output(exec.CommandContext(ctx, argv[0], argv[1:]...), maxKnownOutput)
	if fault.Short(err) {
		return err
	}
	if err != nil {
		return &Error{Kind: ErrConfig, Err: fmt.Errorf("KnownHostsCommand: %w", err)}
	}
	known.Add("KnownHostsCommand", out, d.opts.Logf)
	return nil
}

// maxKnownOutput is how much KnownHostsCommand may print, in bytes.
const maxKnownOutput = 4 << 20

// escape keeps what replaces a token from being taken for one.
func escape(s string) string { return strings.ReplaceAll(s, "%", "%%") }

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
		return s.advise(err)
	}
	told, err := d.accept(s, known, names[0], key)
	if err != nil {
		return s.advise(err)
	}
	if !told {
		return nil
	}
	fingerprint := ssh.FingerprintSHA256(key)
	d.opts.Logf("%s: trusted on first use: %s %s", t.Name, key.Type(), fingerprint)
	if d.opts.Accepted != nil {
		d.opts.Accepted(t.Name, fingerprint)
	}
	return nil
}

// accept trusts a new key. One that cannot be recorded is trusted all the same, as OpenSSH does; but of two keys for one name
// no run trusts both.
func (d *Dialer) accept(s *settings, known *hostkeys.KnownHosts, name string, key ssh.PublicKey) (isNew bool, err error) {
	file := ""
	if len(s.userKnown) > 0 && s.userKnown[0] != os.DevNull {
		file = s.userKnown[0]
	}
	d.accepting.Lock() // lists of files may have their first one in common
	defer d.accepting.Unlock()
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	blob := string(key.Marshal())
	switch before, ok := d.unwritten[name]; {
	case ok && before == blob:
		return false, nil
	case ok:
		return false, &hostkeys.Error{
			Kind: ErrHostKeyChanged, Name: name,
			Text: fmt.Sprintf("it shows %s key %s, but showed another one in this run, which could not be recorded",
				key.Type(), ssh.FingerprintSHA256(key)),
		}
	}
	err = known.Accept(file, name, key, s.hashKnown)
	var refused *hostkeys.Error
	if err == nil || errors.As(err, &refused) || fault.Short(err) {
		return true, err
	}
	d.unwritten[name] = blob
	d.warn("unwritten "+file, fmt.Sprintf("new host keys cannot be recorded in %s, so that the next run meets them anew: %v", file, err))
	return true, nil
}

// advise adds to a host key that was refused what to do about it.
func (s *settings) advise(err error) error {
	var refused *hostkeys.Error
	if !errors.As(err, &refused) || refused.Hint != "" {
		return err
	}
	e := *refused
	switch {
	case errors.Is(err, ErrHostKeyUnknown):
		e.Hint = "compare the fingerprint with the host's own, then add it" + s.howToAdd()
	case errors.Is(err, ErrHostKeyChanged):
		e.Hint = "someone may be in the middle; if the host was reinstalled, remove the old key" + howToRemove(&e)
	}
	return &e
}

// howToAdd is the command that records the host's keys. ssh-keyscan knows no jump hosts and no HostKeyAlias.
func (s *settings) howToAdd() string {
	file := ""
	if len(s.userKnown) > 0 {
		file = homely(s.userKnown[0])
	}
	switch {
	case file == "":
		return " to a known_hosts file"
	case s.keyAlias != "" || s.isSet(s.proxyJump) || s.isSet(s.proxyCommand):
		return fmt.Sprintf(" to %s under the name %s", file, cmp.Or(s.keyAlias, hostkeys.HostNames(s.host, s.port)[0]))
	case s.port != 22:
		return fmt.Sprintf(": ssh-keyscan -H -p %d %s >> %s", s.port, Quote(s.host), file)
	}
	return fmt.Sprintf(": ssh-keyscan -H %s >> %s", Quote(s.host), file)
}

// isSet reports whether an option that "none" turns off is on.
func (s *settings) isSet(option string) bool { return option != "" && option != "none" }

// howToRemove are the commands that remove the keys that were known.
func howToRemove(e *hostkeys.Error) string {
	var commands []string
	for _, f := range e.Files {
		commands = append(commands, fmt.Sprintf("ssh-keygen -R %s -f %s", Quote(e.Name), homely(f)))
	}
	out := ""
	if len(commands) > 0 {
		out = ": " + strings.Join(commands, "; ")
	}
	for _, l := range e.Lines {
		out += "; see line " + l
	}
	return out
}

// homely is a path for a command line, with ~ where it is in the home.
func homely(path string) string {
	if rest, ok := strings.CutPrefix(path, sshconfig.HomeDir()+"/"); ok {
		return "~/" + Quote(rest)
	}
	return Quote(path)
}

// hintOf is what to do about a host key that was refused.
func hintOf(err error) string {
	var refused *hostkeys.Error
	if errors.As(err, &refused) {
		return refused.Hint
	}
	return ""
}
