package host

import (
	"bytes"
	"context"
	"fleetctl/enroll/host/diff"
	"fleetctl/enroll/sh"
	"fleetctl/remote"
	"fmt"
	"net"
	"strings"
)

// maxRecord bounds what is recorded of a host.
const maxRecord = 4 << 20

// recordBody prints what tbot, systemd and the unit's journal say, each behind a line that names it.
const recordBody = sh.FindTbot + `part() { printf '\n@@part %s\n' "$1"; }
t=$BIN
if [ -z "$t" ]; then t=$(find_tbot); fi
part tbot-version.txt
w=$(changeable "$t")
if [ -z "$t" ]; then echo "no tbot"
elif [ -n "$w" ]; then echo "not run: others than root can change $w"
else "$t" version </dev/null 2>&1; fi
part tbot-tpm-identify.txt
if [ -n "$t" ] && [ -z "$w" ]; then "$t" tpm identify </dev/null 2>&1; fi
part os.txt
uname -srm; cat /etc/os-release 2>/dev/null; ls -l /dev/tpm* 2>&1
if has systemctl; then
  part tbot.service
  systemctl cat tbot.service --no-pager 2>&1
  part service.txt
  systemctl show tbot.service --no-pager 2>&1
  part journal.txt
  journalctl -u tbot.service -o cat --no-pager -n 500 2>&1
fi
part readyz.json
if [ -n "$DIAGPORT" ]; then http "$DIAGHOST" "$DIAGPORT" /readyz; fi
part tbot.yaml
plain "$CONFIG" 2>&1
part end
`

// Recorded is what was recorded of a host, by the name of the part: "tbot-version.txt", "journal.txt"…
type Recorded map[string]string

// Record asks a host, as root, for everything that its tbot and its service print. It changes nothing. Secrets in
// tbot.yaml are masked.
func Record(ctx context.Context, conn Conn, d Desired) (Recorded, error) {
	diagHost, diagPort, _ := net.SplitHostPort(d.Tbot.DiagAddr)
	vars := assignments(shellVar{"BIN", string(d.Tbot.Binary)}, shellVar{"CONFIG", string(d.Tbot.Config)},
		shellVar{"DIAGHOST", diagHost}, shellVar{"DIAGPORT", diagPort})
	out, err := conn.Run(ctx, remote.Cmd{Script: vars + scriptPrelude + recordBody, Become: true, MaxOutput: maxRecord})
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	parts := Recorded{}
	name := ""
	for line := range bytes.Lines(out.Stdout) {
		if next, ok := strings.CutPrefix(string(line), "@@part "); ok {
			name = strings.TrimSpace(next)
			continue
		}
		if name != "" {
			parts[name] += string(line)
		}
	}
	if name != "end" {
		return nil, fmt.Errorf("record: %w", errFacts)
	}
	delete(parts, "end")
	parts["tbot.yaml"] = diff.MaskSecrets(parts["tbot.yaml"], d.token)
	return parts, nil
}
