// Package sshfp asks DNS for the fingerprints of host keys (SSHFP records, RFC 4255). It says whether the answer was
// authenticated by DNSSEC; what that is worth is for others to judge.
package sshfp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// Record is one SSHFP record with a SHA-256 fingerprint; others say nothing that can be relied upon, and are left out.
type Record struct {
	Algorithm byte   // 1 RSA, 3 ECDSA, 4 Ed25519 (RFC 4255, 6594, 7479)
	SHA256    []byte // of the key as SSH sends it
}

// Answer is what DNS says of a name.
type Answer struct {
	Records []Record
	// Authentic: the resolver has validated the answer by DNSSEC (the AD bit, RFC 4035, section 3.2.3), and is one whose word
	// counts: resolv.conf(5) says trust-ad, or it is on this machine.
	Authentic bool
}

// Algorithm is the number of a key's type; 0: it has none.
func Algorithm(keyType string) byte {
	switch {
	case keyType == "ssh-rsa":
		return 1
	case strings.HasPrefix(keyType, "ecdsa-"):
		return 3
	case keyType == "ssh-ed25519":
		return 4
	}
	return 0
}

// Resolver is who is asked.
type Resolver struct {
	Servers []string // addresses with ports
	TrustAD bool     // resolv.conf's trust-ad

	Timeout time.Duration // for one server, 5 s
}

// System is the system's resolver, of resolv.conf(5).
func System() (Resolver, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return Resolver{}, fmt.Errorf("who resolves names: %w", err)
	}
	return parse(string(data)), nil
}

func parse(conf string) Resolver {
	var r Resolver
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
		case fields[0] == "nameserver":
			r.Servers = append(r.Servers, net.JoinHostPort(fields[1], "53"))
		case fields[0] == "options":
			for _, o := range fields[1:] {
				r.TrustAD = r.TrustAD || o == "trust-ad"
			}
		}
	}
	if len(r.Servers) == 0 {
		r.Servers = []string{"127.0.0.1:53"}
	}
	return r
}

// Lookup asks for the records of a name. That there are none is no error.
func (r Resolver) Lookup(ctx context.Context, name string) (Answer, error) {
	query, err := question(name)
	if err != nil {
		return Answer{}, err
	}
	var last error
	for _, server := range r.Servers {
		a, err := r.ask(ctx, server, query)
		if err == nil {
			a.Authentic = a.Authentic && (r.TrustAD || local(server))
			return a, nil
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return Answer{}, fmt.Errorf("SSHFP records of %s: %w", name, last)
}

// local reports whether a resolver is on this machine, so that nobody can have changed its answer on the way.
func local(server string) bool {
	host, _, _ := net.SplitHostPort(server)
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// ask asks one server by UDP, and by TCP where the answer is too long for that.
func (r Resolver) ask(ctx context.Context, server string, query []byte) (Answer, error) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, network := range []string{"udp", "tcp"} {
		reply, err := exchange(ctx, network, server, query)
		if err != nil {
			return Answer{}, err
		}
		a, short, err := read(query, reply)
		if err != nil || !short {
			return a, err
		}
	}
	return Answer{}, errors.New("the answer is cut off")
}

func exchange(ctx context.Context, network, server string, query []byte) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
			return nil, err
		}
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return nil, err
		}
		reply := make([]byte, binary.BigEndian.Uint16(size[:]))
		_, err = io.ReadFull(conn, reply)
		return reply, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	reply := make([]byte, maxUDP)
	for {
		n, err := conn.Read(reply)
		if err != nil {
			return nil, err
		}
		if n >= 2 && reply[0] == query[0] && reply[1] == query[1] { // else somebody guesses
			return reply[:n], nil
		}
	}
}

// Of the protocol (RFC 1035, sections 4.1 and 3.2; RFC 6891; RFC 4255).
const (
	maxUDP    = 4096
	typeSSHFP = 44
	typeOPT   = 41
	classIN   = 1
	headerLen = 12

	flagResponse  = 0x8000
	flagTruncated = 0x0200
	flagRecursion = 0x0100
	flagAuthentic = 0x0020
	nameError     = 3
	dnssecOK      = 0x8000
	hashSHA256    = 2
)

// question is a query for a name's SSHFP records, which asks whether they are authentic.
func question(name string) ([]byte, error) {
	var q []byte
	id := make([]byte, 2)
	_, _ = rand.Read(id) // never fails: crypto/rand
	q = append(q, id...)
	for _, word := range []uint16{flagRecursion | flagAuthentic, 1, 0, 0, 1} {
		q = binary.BigEndian.AppendUint16(q, word)
	}
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return nil, fmt.Errorf("%q is no name of DNS", name)
		}
		q = append(append(q, byte(len(label))), label...)
	}
	if len(q) > headerLen+254 {
		return nil, fmt.Errorf("%q is no name of DNS", name)
	}
	q = binary.BigEndian.AppendUint16(append(q, 0), typeSSHFP)
	q = binary.BigEndian.AppendUint16(q, classIN)
	q = binary.BigEndian.AppendUint16(append(q, 0), typeOPT)
	q = binary.BigEndian.AppendUint16(q, maxUDP)
	q = binary.BigEndian.AppendUint32(q, dnssecOK)
	return binary.BigEndian.AppendUint16(q, 0), nil
}

var errMalformed = errors.New("the answer cannot be read")

// read reads an answer. short says that it was cut off.
func read(query, reply []byte) (a Answer, short bool, err error) {
	if len(reply) < headerLen || len(query) < headerLen || reply[0] != query[0] || reply[1] != query[1] {
		return a, false, errMalformed
	}
	flags := binary.BigEndian.Uint16(reply[2:])
	switch code := flags & 0xf; {
	case flags&flagResponse == 0:
		return a, false, errMalformed
	case flags&flagTruncated != 0:
		return a, true, nil
	case code == nameError:
		return a, false, nil
	case code != 0:
		return a, false, fmt.Errorf("the resolver answers with code %d", code)
	}
	a.Authentic = flags&flagAuthentic != 0
	rest := reply[headerLen:]
	for range binary.BigEndian.Uint16(reply[4:]) {
		if rest = skipName(rest); len(rest) < 4 {
			return a, false, errMalformed
		}
		rest = rest[4:]
	}
	for range binary.BigEndian.Uint16(reply[6:]) { // CNAME records among them lead to the others
		if rest = skipName(rest); len(rest) < 10 {
			return a, false, errMalformed
		}
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[8:]))
		if rest = rest[10:]; len(rest) < size {
			return a, false, errMalformed
		}
		data := rest[:size]
		rest = rest[size:]
		if kind == typeSSHFP && size == 2+32 && data[1] == hashSHA256 {
			a.Records = append(a.Records, Record{Algorithm: data[0], SHA256: data[2:]})
		}
	}
	return a, false, nil
}

// skipName skips a name; nil: it is none.
func skipName(b []byte) []byte {
	for len(b) > 0 {
		n := int(b[0])
		switch {
		case n == 0:
			return b[1:]
		case n >= 0xc0 && len(b) >= 2: // the rest stands elsewhere
			return b[2:]
		case n >= 0x40 || len(b) < 1+n:
			return nil
		}
		b = b[1+n:]
	}
	return nil
}
