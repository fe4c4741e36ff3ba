package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"fleetctl/remote/fault"
	"fleetctl/remote/sshconfig"
)

// system is how the rest of the system finds names: a program that is built without the C library asks /etc/hosts and DNS
// alone, whatever else nsswitch.conf(5) says (mDNS, systemd-resolved, LDAP).
type system struct {
	nsswitch string // the file
	getent   string // the program that asks as the C library does
}

// maxAddresses is how much getent may print, in bytes.
const maxAddresses = 64 << 10

// dial connects to a host. A name that we do not find is asked of the system.
func (y system) dial(ctx context.Context, dialer *net.Dialer, network string, s *settings) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, network, s.addr())
	var dns *net.DNSError
	if !errors.As(err, &dns) || !dns.IsNotFound {
		return conn, err
	}
	others := y.others()
	if len(others) == 0 {
		return nil, err
	}
	addresses, lookupErr := y.lookup(ctx, network, s.host)
	switch {
	case fault.Short(lookupErr), ctx.Err() != nil && lookupErr != nil:
		return nil, lookupErr
	case errors.Is(lookupErr, exec.ErrNotFound):
		return nil, &Error{
			Kind: ErrUnreachable, Err: fmt.Errorf("%w (only DNS and /etc/hosts were asked, not %s of %s: there is no getent)",
				dns, Clean(strings.Join(others, ", ")), y.nsswitch), Hint: "set ansible_host to an address",
		}
	case lookupErr != nil || len(addresses) == 0:
		return nil, err
	}
	for _, a := range addresses {
		if conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(a, strconv.Itoa(s.port))); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// others are what the system asks for hosts beside files and DNS.
func (y system) others() []string {
	data, err := os.ReadFile(y.nsswitch)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		sources, ok := strings.CutPrefix(strings.TrimSpace(line), "hosts:")
		if !ok {
			continue
		}
		return slices.DeleteFunc(strings.Fields(sources), func(s string) bool {
			return s == "files" || s == "dns" || strings.ContainsAny(s, "[]=")
		})
	}
	return nil
}

// lookup asks getent for a host's addresses.
func (y system) lookup(ctx context.Context, network, host string) ([]string, error) {
	path, err := exec.LookPath(y.getent)
	if err != nil {
		return nil, err
	}
	database := map[string]string{"tcp": "ahosts", "tcp4": "ahostsv4", "tcp6": "ahostsv6"}[network]
	out, err := sshconfig.Output(exec.CommandContext(ctx, path, database, "--", host), maxAddresses)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) > 0 && net.ParseIP(strings.SplitN(fields[0], "%", 2)[0]) != nil && !slices.Contains(addresses, fields[0]) {
			addresses = append(addresses, fields[0])
		}
	}
	return addresses, nil
}
