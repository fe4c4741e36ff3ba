package remote

import (
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// tell says of a connection what a person needs who wonders how a host is reached: where, as whom, through what, with which
// keys and algorithms. client is nil where it came to none. Nothing secret is in it.
func (d *Dialer) tell(t Target, s *settings, l *login, client *ssh.Client) {
	d.opts.Debugf("%s: %s", t.Name, d.settled(s))
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s as %s", t.Name, s.addr(), s.user)
	switch {
	case s.isSet(s.proxyCommand):
		b.WriteString(" by a ProxyCommand")
	case s.isSet(s.proxyJump):
		b.WriteString(" through " + s.proxyJump)
	}
	l.mu.Lock()
	offered, signed, sent := l.offered, l.signed, l.passwordSent
	l.mu.Unlock()
	var keys []string
	for _, k := range offered {
		keys = append(keys, d.keys.describe(k))
	}
	if len(keys) > 0 {
		b.WriteString("; keys offered: " + strings.Join(keys, ", "))
	}
	if sent {
		b.WriteString("; a password was sent")
	}
	if client == nil {
		d.opts.Logf("%s; not logged in", b.String())
		return
	}
	if signed != nil && !sent {
		b.WriteString("; accepted: " + ssh.FingerprintSHA256(signed))
	}
	if c, ok := client.Conn.(ssh.AlgorithmsConnMetadata); ok {
		a := c.Algorithms()
		fmt.Fprintf(&b, "; algorithms: %s, %s, %s", a.KeyExchange, a.HostKey, a.Write.Cipher)
		if a.Write.MAC != "" {
			b.WriteString(", " + a.Write.MAC)
		}
	}
	method, user, _ := t.Become.method()
	fmt.Fprintf(&b, "; become: %s to %s", method, user)
	d.opts.Logf("%s", b.String())
	d.opts.Debugf("%s: its SSH is %s", t.Name, Line(string(client.ServerVersion())))
}

// settled is what the configuration came to.
func (d *Dialer) settled(s *settings) string {
	var keys []string
	for _, id := range s.identities {
		keys = append(keys, id.path)
	}
	return fmt.Sprintf("known_hosts: %s; of the system: %s; key files: %s; agent: %s; limits: %s to connect, %s for the key exchange, "+
		"%s to log in; host key alias: %q", strings.Join(s.userKnown, ", "), strings.Join(s.globalKnown, ", "), strings.Join(keys, ", "),
		agentPath(s), d.connectLimit(s), d.handshakeLimit(s), d.authLimit(s), s.keyAlias)
}
