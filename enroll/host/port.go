package host

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"fleetctl/enroll/outcome"
)

// portFacts are of whoever else listens where tbot's health shall be asked. They come after those of the service, whose
// variables they use.
var portFacts = factsOf{
	script: portScript,
	set:    map[string]func(*Facts, string) error{"port.holder": func(f *Facts, v string) error { return setHolder(v, &f.holder) }},
}

const portScript = `if [ -n "$DIAGPORT" ] && [ -d /run/systemd/system ] && has systemctl; then
  h=$(holder "$DIAGPORT")
  if [ -n "$h" ] && [ "MainPID=${h%% *}" != "$(systemctl show tbot.service -p MainPID 2>/dev/null)" ]; then kv port.holder "$h"; fi
fi
`

// aHolder is "PID NAME"; a process may call itself anything.
var aHolder = regexp.MustCompile(`^[0-9]+ .*$`)

func setHolder(v string, to *string) error {
	if !aHolder.MatchString(v) {
		return errors.New("no process")
	}
	*to = v
	return nil
}

// named says which process holds something: "python3 (process 12)".
func named(holder string) string {
	pid, name, _ := strings.Cut(holder, " ")
	return fmt.Sprintf("%s (process %s)", name, pid)
}

// address is tbot.diag_addr, which nobody else may have.
func (p *planner) address() {
	if p.f.holder != "" {
		p.problem("tbot.diag_addr", outcome.AddressInUse, p.d.Tbot.DiagAddr+" is taken by "+named(p.f.holder), "")
	}
}
