package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fleetctl/enroll/host/tbotlog"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Health is how tbot does after a start.
type Health struct {
	By  string   // what says that it joined: readyz or journal; "" when nothing does
	Log []string // the journal's last lines, when it is not joined

	state   string   // joined; active (it runs, and whether it joined can't be told); failed, restarting, not-joined
	lines   []string // the journal, when it is not joined
	storage string   // tbot's storage
	holder  string   // the process that has an address which tbot wants: "PID NAME"; "" not known
}

// Joined says whether tbot has joined and runs steadily.
func (h Health) Joined() bool { return h.state == "joined" }

// VerifyOptions of Verify.
type VerifyOptions struct {
	Watch time.Duration // how long tbot has to run without a restart; 3 s
	Limit time.Duration // how long to wait until it joined; 90 s

	// Running: this run did not start it. It has had its time, so that it is waited for briefly, and how it is now counts:
	// the latest word of its journal, and none that is older than a join stays fresh.
	Running bool
}

// settled is how long a tbot that runs already is waited for: it may have been started a moment ago, by a reboot.
const settled = 10 * time.Second

// freshJoin is how long after its latest join a tbot may still be at work. One that renews does so every 20 minutes.
const freshJoin = 2 * time.Hour

// Fresh is how old the latest join of a tbot may be that does well: by the TPM it joins anew at each renewal.
func (d Desired) Fresh() time.Duration { return max(freshJoin, 2*d.Tbot.RenewalInterval.Value()) }

// Verify watches tbot on the host until it has joined and runs steadily, or the limit is over, or it keeps ending: one
// script and one round trip. The error is an error of the connection; what tbot does is in Health. f is of before the
// change. Only what the journal has of this start counts: of systemd's invocation, or of the process where systemd doesn't
// tell starts apart (before 233).
func Verify(ctx context.Context, conn Conn, f *Facts, d Desired, opts VerifyOptions) (Health, error) {
	out, err := conn.Run(ctx, remote.Cmd{Script: verifyScript(f, d, opts), Become: true})
	if err != nil {
		return Health{}, fmt.Errorf("verify: %w", err)
	}
	if out.ExitCode != 0 {
		said := remote.Line(remote.Tail(string(out.Stderr), 300))
		return Health{}, fmt.Errorf("verify: the script ended with %d: %s", out.ExitCode, said)
	}
	h, err := parseHealth(out.Stdout)
	h.storage = string(d.Tbot.Storage)
	return h, err
}

// systemdInvocation is the first systemd whose journal says to which start of a unit a line belongs
// (_SYSTEMD_INVOCATION_ID, NEWS of 233).
const systemdInvocation = 233

func verifyScript(f *Facts, d Desired, opts VerifyOptions) string {
	host, port := d.diagAddr()
	means := versions.Readyz(f.tbot.version)
	watch, limit, young := seconds(opts.Watch, 3*time.Second), seconds(opts.Limit, 90*time.Second), int64(1)
	if opts.Running {
		watch, limit = "0", seconds(min(cmp.Or(opts.Limit, settled), settled), settled)
		young = f.Now - int64(d.Fresh().Seconds())
	}
	vars := []shellVar{
		{"DIAGHOST", host}, {"DIAGPORT", port},
		{"TRUST", truth(means.JoinedBy200())},
		{"ASK", truth(means != versions.ReadyzListens && means != versions.ReadyzDegraded)},
		{"TELLS", truth(f.Systemd >= systemdInvocation)},
		{"SINCE", strconv.FormatInt(f.Now, 10)}, {"YOUNG", strconv.FormatInt(young, 10)}, {"WATCH", watch}, {"LIMIT", limit},
		{"PENDING", pendingPath},
		{"JOINED", joinedLine}, {"REFUSED", refusedLine},
	}
	return assignments(vars...) + scriptPrelude + verifyBody
}

// truth is "1" or "" for the shell.
func truth(v bool) string {
	if v {
		return "1"
	}
	return ""
}

func seconds(d, or time.Duration) string {
	if d <= 0 {
		d = or
	}
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}

// What tbot logs, in every version that knows the tpm method.
const (
	// joinedLine: it has an identity from the cluster.
	joinedLine = "Fetched new bot identity"
	// refusedLine: the cluster refused a re-join, and tbot goes on with the identity that it had; it stays active (from
	// 17.5.3 and 18.0.1 on, lib/tbot/internal/identity/service.go@b2dd8891).
	refusedLine = "Failed to renew bot identity|Unable to renew bot identity on startup"
)

// verifyBody watches. fresh: lines of the journal of the present start, YOUNG or younger; log: those of every start that was
// seen, the end of the service by systemd included. latest: is the last of fresh that speaks of a join one that says so?
// After a refused renewal an earlier join counts no more. joins: does tbot's health say that it has joined? TRUST: a
// 200 says so. ASK: /readyz is 503
// for any service, and the bot's own is asked; of a tbot of no known version a 200 there is proof, since only those that know
// health have it.
const verifyBody = `prop() { printf '%s\n' "$all" | sed -n "s/^$1=//p"; }
fresh() {
  if [ -n "$TELLS" ] && [ -n "$start" ]; then set -- "_SYSTEMD_INVOCATION_ID=$start"
  else set -- _SYSTEMD_UNIT=tbot.service "_PID=$pid" -b; fi
  journalctl "$@" --since "@$YOUNG" -o cat --no-pager -n 500 2>/dev/null
}
latest() { fresh | grep -E "$JOINED|$REFUSED" | tail -n 1 | grep -q "$JOINED"; }
log() {
  if [ -n "$starts" ]; then journalctl $starts -o cat --no-pager -n "$1" 2>/dev/null
  else journalctl -u tbot.service --since "@$SINCE" -o cat --no-pager -n "$1" 2>/dev/null; fi
}
code() { http "$DIAGHOST" "$DIAGPORT" "$1" | head -n 1; }
joins() {
  [ -n "$DIAGPORT" ] || return 1
  ready=$(code /readyz)
  if [ "$ready" = 200 ] && [ -n "$TRUST" ]; then return 0; fi
  [ -n "$ASK" ] && [ -n "$ready" ] && [ "$ready" != 000 ] && [ "$(code /readyz/` + botService + `)" = 200 ]
}
end=$(( $(date +%s) + LIMIT )) since=$(date +%s) last= ends=0 state= by= ready= dead= start= starts=
while :; do
  all=$(systemctl show tbot.service -p ActiveState -p SubState -p MainPID -p InvocationID 2>/dev/null)
  a=$(prop ActiveState) pid=$(prop MainPID) start=$(prop InvocationID) now=$(date +%s)
  if [ -n "$TELLS" ] && [ -n "$start" ]; then
    case $starts in *"=$start "*) ;; *)
      starts="$starts${starts:++ }_SYSTEMD_INVOCATION_ID=$start + INVOCATION_ID=$start ";;
    esac
  fi
  if [ "$a" = active ] && [ "$(prop SubState)" = running ]; then
    if [ "$pid" != "$last" ]; then
      if [ -n "$last" ] && [ -z "$dead" ]; then ends=$((ends + 1)); fi
      last=$pid since=$now dead= by=
    fi
    if [ -z "$by" ] && joins; then by=readyz; fi
    if [ -z "$by" ] && latest; then by=journal; fi
    if [ -n "$by" ] && [ $((now - since)) -ge "$WATCH" ]; then state=joined; break; fi
  else
    if [ -z "$dead" ]; then ends=$((ends + 1)) dead=1 by=; fi
    if [ "$a" = failed ] || [ "$a" = inactive ]; then state=failed; break; fi
  fi
  if [ "$ends" -ge 2 ]; then state=restarting; break; fi
  if [ "$now" -ge "$end" ]; then
    if [ "$a" != active ]; then state=restarting
    elif [ -n "$DIAGPORT" ] && [ -n "$TRUST" ]; then state=not-joined
    elif fresh | grep -q -E "$REFUSED"; then state=not-joined
    else state=active; fi
    break
  fi
  sleep 1
done
if [ "$state" = joined ]; then rm -f "$PENDING"; fi
kv state "$state"
kv by "$by"
if [ "$state" != joined ]; then
  p=$(log 200 | sed -n 's/.*:\([0-9][0-9]*\): bind: address already in use.*/\1/p' | tail -n 1)
  if [ -n "$p" ]; then kv holder "$(holder "$p")"; fi
  n=0
  log 200 | while IFS= read -r l; do n=$((n + 1)); kv "log.$n" "$l"; done
fi
echo end=1
`

var errHealth = errors.New("verify: the host's answer can't be read")

// maxJournal is how many lines of the journal are judged: one error report alone has dozens.
const maxJournal = 200

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
			err = setWord(value, &h.state, "joined", "active", "failed", "restarting", "not-joined")
		case key == "by":
			err = setWord(value, &h.By, "", "readyz", "journal")
		case key == "holder" && value != "":
			err = setHolder(value, &h.holder)
		case key == "holder":
		case key == "end":
			whole = true
		case strings.HasPrefix(key, "log.") && len(h.lines) < maxJournal:
			h.lines = append(h.lines, remote.Cut(value, 1000))
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
	h.Log = tbotlog.Shown(h.lines)
	return h, nil
}

// SkewLimit is from where on a clock that is off is named as the likely cause.
const SkewLimit = 2 * time.Minute

// Explain says why tbot has not joined: by what the newest error in its journal says, as far as it is known.
func (h Health) Explain(skew time.Duration) outcome.Reason {
	r := outcome.Because(outcome.NotJoined, "tbot has not joined")
	switch h.state {
	case "failed", "restarting":
		r = outcome.Because(outcome.ServiceFailed, "tbot doesn't keep running")
	case "active":
		r = outcome.Because(outcome.JoinUnknown, "tbot runs, and nothing says that it joined")
	}
	if c := tbotlog.CauseIn(h.lines); c != nil {
		if c.Code == outcome.StorageDenied && c.Path != h.storage && !strings.HasPrefix(c.Path, h.storage+"/") {
			c.Code, c.Message = outcome.PermissionDenied, "tbot may not use "+c.Path
		}
		if c.Code == outcome.AddressInUse && h.holder != "" {
			c.Message += " by " + named(h.holder)
		}
		r = outcome.Because(c.Code, c.Message)
	}
	if skew.Abs() > SkewLimit {
		r.Message += fmt.Sprintf("; the host's clock is off by %s", skew.Abs().Round(time.Second))
		if r.Code == outcome.ClockOff || r.Code == outcome.NotJoined || r.Code == outcome.ClusterCertificate {
			r.Code, r.Hint = outcome.ClockOff, outcome.Lookup(outcome.ClockOff).Do
		}
	}
	return r
}
