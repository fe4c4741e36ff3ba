package scan

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/sh"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// probe is what a scan has to know of a host before it can ask its TPM.
type probe struct {
	os     string // uname -s: "Linux"
	arch   string // GOARCH of the helper that fits; "" for none
	uname  string // uname -m as the host says it, printable
	uid    int
	device bool // there is a TPM device at all
	access bool // the login user may read and write it
}

// probeScript asks everything in one round trip; every line is "key=value".
const probeScript = sh.TPMDevice + `LC_ALL=C; export LC_ALL
printf 'os=%s\n' "$(uname -s 2>/dev/null)"
printf 'arch=%s\n' "$(uname -m 2>/dev/null)"
printf 'uid=%s\n' "$(id -u 2>/dev/null)"
if [ -z "$d" ]; then tpm_find; d=$tpm; fi
if [ -e "$d" ]; then echo device=1; [ -r "$d" ] && [ -w "$d" ] && echo access=1; fi
exit 0
`

// errProbe is a host whose programs don't say what any host's do. Nothing follows from it for the TPM.
var errProbe = outcome.NewError(outcome.BadOutput, "what kind of host it is can't be read")

func runProbe(ctx context.Context, conn *remote.Conn, device string) (probe, error) {
	out, err := conn.Run(ctx, remote.Cmd{Script: "d=" + remote.Quote(device) + "\n" + probeScript, MaxOutput: 16 << 10})
	if err != nil {
		return probe{}, fmt.Errorf("probe: %w", err)
	}
	p := parseProbe(out.Stdout)
	if p.os == "" || p.uname == "" || p.uid < 0 {
		said := remote.Line(remote.Tail(string(out.Stderr), 300))
		return probe{}, fmt.Errorf("probe: %w: %s", errProbe, cmp.Or(said, "uname and id say nothing"))
	}
	return p, nil
}

// parseProbe reads the probe's lines. What a host leaves out stays zero: such a host gets no helper and fails later,
// with a reason.
func parseProbe(out []byte) probe {
	p := probe{uid: -1}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		switch key {
		case "os":
			p.os = remote.Clean(value)
		case "arch":
			p.uname, p.arch = remote.Clean(value), remote.GOARCH(value)
		case "uid":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 {
				p.uid = n
			}
		case "device":
			p.device = true
		case "access":
			p.access = true
		}
	}
	return p
}

// becomeFor says whether asking the TPM needs another user. Without any device there is nothing that root could open.
func (p probe) becomeFor(h inventory.Host) bool {
	if p.uid == 0 || p.access || !p.device {
		return false
	}
	return !becomeForbidden(h)
}

// becomeForbidden says whether the inventory switches become off for the host.
func becomeForbidden(h inventory.Host) bool {
	c, err := h.Connection()
	return err == nil && c.Become != nil && !*c.Become
}
