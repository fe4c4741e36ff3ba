package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

// Health is how tbot does after a start.
type Health struct {
	State    string   // joined; active (it runs, and whether it joined can't be told); failed, restarting, not-joined
	By       string   // what says that it joined: readyz or journal
	Ready    string   // the last HTTP status of /readyz
	Restarts int      // how often it ended while it was watched
	Log      []string // the journal's last lines, when it is not joined
}

// VerifyOptions of Verify.
type VerifyOptions struct {
	Watch time.Duration // how long tbot has to run without a restart; 3 s
	Limit time.Duration // how long to wait until it joined; 90 s
}

// Verify watches tbot on the host until it has joined and runs steadily, or the limit is over, or it keeps ending: one
// script and one round trip. The error is an error of the connection; what tbot does is in Health. since is the host's
// clock before the change: older lines of the journal don't count.
func Verify(ctx context.Context, conn Conn, f *Facts, d Desired, opts VerifyOptions) (Health, error) {
	out, err := conn.Run(ctx, remote.Cmd{Script: verifyScript(f, d, opts), Become: true})
	if err != nil {
		return Health{}, fmt.Errorf("verify: %w", err)
	}
	if out.ExitCode != 0 {
		return Health{}, fmt.Errorf("verify: the script ended with %d: %s", out.ExitCode, remote.Clean(remote.Tail(string(out.Stderr), 300)))
	}
	return parseHealth(out.Stdout)
}

func verifyScript(f *Facts, d Desired, opts VerifyOptions) string {
	host, port, _ := net.SplitHostPort(d.Tbot.DiagAddr)
	if host == "" || host == "0.0.0.0" {
		host = "127.0.0.1"
	}
	trust := ""
	if versions.Readyz(f.tbot.version).JoinedBy200() {
		trust = "1"
	}
	vars := fmt.Sprintf("DIAGHOST=%s\nDIAGPORT=%s\nTRUST=%s\nSINCE=%d\nWATCH=%d\nLIMIT=%d\nPENDING=%s\n",
		remote.Quote(host), remote.Quote(port), trust, f.Now, seconds(opts.Watch, 3*time.Second),
		seconds(opts.Limit, 90*time.Second), pendingPath)
	return vars + scriptPrelude + verifyBody
}

func seconds(d, or time.Duration) int {
	if d <= 0 {
		d = or
	}
	return int((d + time.Second - 1) / time.Second)
}

// joinedLine is what tbot logs when it has an identity from the cluster, in every version that knows the tpm method.
const joinedLine = "Fetched new bot identity"

const verifyBody = `prop() { printf '%s\n' "$all" | sed -n "s/^$1=//p"; }
log() { journalctl -u tbot.service --since "@$SINCE" -o cat --no-pager -n "$1" 2>/dev/null; }
end=$(( $(date +%s) + LIMIT )) since=$(date +%s) last= ends=0 state= by= ready= dead=
while :; do
  all=$(systemctl show tbot.service -p ActiveState -p SubState -p MainPID 2>/dev/null)
  a=$(prop ActiveState) pid=$(prop MainPID) now=$(date +%s)
  if [ "$a" = active ] && [ "$(prop SubState)" = running ]; then
    if [ "$pid" != "$last" ]; then
      if [ -n "$last" ] && [ -z "$dead" ]; then ends=$((ends + 1)); fi
      last=$pid since=$now dead=
    fi
    if [ -n "$DIAGPORT" ]; then
      ready=$(http "$DIAGHOST" "$DIAGPORT" /readyz)
      if [ "$ready" = 200 ] && [ -n "$TRUST" ]; then by=readyz; fi
    fi
    if [ -z "$by" ] && log 500 | grep -q '` + joinedLine + `'; then by=journal; fi
    if [ -n "$by" ] && [ $((now - since)) -ge "$WATCH" ]; then state=joined; break; fi
  else
    if [ -z "$dead" ]; then ends=$((ends + 1)) dead=1 by=; fi
    if [ "$a" = failed ] || [ "$a" = inactive ]; then state=failed; break; fi
  fi
  if [ "$ends" -ge 2 ]; then state=restarting; break; fi
  if [ "$now" -ge "$end" ]; then
    if [ "$a" != active ]; then state=restarting
    elif [ -n "$DIAGPORT" ] && [ -n "$TRUST" ]; then state=not-joined
    else state=active; fi
    break
  fi
  sleep 1
done
if [ "$state" = joined ]; then rm -f "$PENDING"; fi
kv state "$state"
kv by "$by"
kv ready "$ready"
kv restarts "$ends"
if [ "$state" != joined ]; then
  n=0
  log 20 | while IFS= read -r l; do n=$((n + 1)); kv "log.$n" "$l"; done
fi
echo end=1
`

var errHealth = errors.New("verify: the host's answer can't be read")

func parseHealth(out []byte) (Health, error) {
	var h Health
	whole := false
	for line := range bytes.Lines(out) {
		key, value, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		var err error
		switch {
		case !ok:
			err = errHealth
		case key == "state":
			err = setWord(value, &h.State, "joined", "active", "failed", "restarting", "not-joined")
		case key == "by":
			err = setWord(value, &h.By, "", "readyz", "journal")
		case key == "ready":
			h.Ready = remote.Cut(value, 8)
		case key == "restarts":
			h.Restarts, err = strconv.Atoi(value)
		case key == "end":
			whole = true
		case strings.HasPrefix(key, "log.") && len(h.Log) < 20:
			h.Log = append(h.Log, remote.Cut(value, 500))
		default:
			err = errHealth
		}
		if err != nil {
			return Health{}, fmt.Errorf("%w: line %q", errHealth, remote.Cut(string(line), 80))
		}
	}
	if !whole {
		return Health{}, fmt.Errorf("%w: it is cut off", errHealth)
	}
	return h, nil
}

// SkewLimit is from where on a clock that is off is named as the likely cause.
const SkewLimit = 2 * time.Minute

// Explain translates what a tbot that didn't join says. The last line that is known counts: it is the newest.
func (h Health) Explain(skew time.Duration) outcome.Reason {
	r := outcome.Because(outcome.NotJoined, "tbot has not joined")
	switch h.State {
	case "failed", "restarting":
		r.Code, r.Message = outcome.ServiceFailed, "tbot doesn't keep running"
	case "active":
		r = outcome.Because(outcome.JoinUnknown, "tbot runs, and nothing says that it joined")
	}
	for i := len(h.Log) - 1; i >= 0; i-- {
		if c := causeIn(h.Log[i]); c != nil {
			r = outcome.Because(c.code, c.message)
			break
		}
	}
	if skew.Abs() > SkewLimit {
		r.Message += fmt.Sprintf("; the host's clock is off by %s", skew.Abs().Round(time.Second))
		if r.Code == outcome.ClockOff || r.Code == outcome.NotJoined || r.Code == outcome.ClusterCertificate {
			r.Code, r.Hint = outcome.ClockOff, outcome.Lookup(outcome.ClockOff).Do
		}
	}
	return r
}
