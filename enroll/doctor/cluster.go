package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/proxy"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

// How far clocks may be apart: certificates of a join are not valid before the cluster's time, with a minute's grace.
const (
	clockOff   = time.Minute
	clockWrong = time.Hour // nothing is judged by such a clock
)

// failed is a check of which an error says what is wrong.
func failed(state State, err error, hint string) Check {
	r := outcome.ReasonOf(err)
	return Check{State: state, Message: r.Message, Hint: cmp.Or(hint, r.Hint)}
}

func skipped(format string, args ...any) Check {
	return Check{State: Skipped, Message: remote.Line(fmt.Sprintf(format, args...))}
}

func ok(format string, args ...any) Check {
	return Check{State: OK, Message: remote.Line(fmt.Sprintf(format, args...))}
}

func (f *facts) tctl(context.Context) Check {
	switch {
	case f.Tctl == nil:
		return failed(Error, f.ctlErr, "")
	case f.ctlErr != nil:
		return failed(Error, f.ctlErr, "log in (tsh login), or run fleetctl where tctl may act")
	}
	return ok("speaks to cluster %s", cmp.Or(f.cluster.Name, "without a name"))
}

// may is a check of what tctl's user may read. That enrolling may write it, too, shows when it does.
func (f *facts) may(what string, err error) Check {
	switch {
	case f.ctlErr != nil:
		return skipped("tctl does not answer")
	case err != nil && !errors.Is(err, tctl.ErrNoResource):
		return failed(Error, err, "")
	}
	return ok("%s can be read; whether they may be created and updated shows when something is", what)
}

func (f *facts) readTokens(ctx context.Context) Check {
	var err error
	if f.ctlErr == nil {
		_, err = f.Tctl.Tokens(ctx)
	}
	return f.may("tokens", err)
}

func (f *facts) readBot(ctx context.Context) Check {
	if f.Config.Token.Kind == "node" {
		return skipped("token.kind is node: agents have no bot")
	}
	var err error
	if f.ctlErr == nil {
		var any map[string]any
		err = f.Tctl.Get(ctx, "bot", cmp.Or(f.Config.Bot.Name, "fleet"), &any)
	}
	return f.may("bots", err)
}

func (f *facts) readInstances(ctx context.Context) Check {
	switch v := f.Config.Cluster.Verify; {
	case f.ctlErr != nil:
		return skipped("tctl does not answer")
	case v == config.VerifyHost, v == config.VerifyNone:
		return skipped("cluster.verify is %s: nobody asks the cluster whether a host has joined", v)
	case f.Config.Token.Kind == "node":
		return skipped("token.kind is node: agents have no bot")
	case versions.Has(versions.BotInstance, f.version) == versions.No:
		return skipped("a cluster of version %s keeps none: the host itself says whether it has joined", f.version)
	}
	if err := f.Tctl.ReadsInstances(ctx, f.Config.Bot.Name); err != nil {
		return failed(Warning, err,
			"give a role of tctl's user the rule {resources: [bot_instance], verbs: [list, read]}, or set cluster.verify to host")
	}
	return ok("can be read: the cluster says whether a host has joined")
}

func (f *facts) proxy(context.Context) Check {
	addr := f.Config.Cluster.ProxyServer
	switch {
	case addr == "" && f.Config.Cluster.AuthServer != "":
		return skipped("fleet.yaml names an auth server, which tells nothing without a login")
	case addr == "":
		return skipped("fleet.yaml names no proxy")
	case errors.Is(f.proxyErr, proxy.ErrNoTeleport):
		return failed(Error, f.proxyErr, "correct cluster.proxy_server: it is the address of the web interface, with its port")
	case f.proxyErr != nil:
		return failed(Error, f.proxyErr,
			"hosts connect there, too: look at the address, name service, firewalls and the proxy's certificate")
	case f.ctlErr == nil && f.cluster.Name != "" && f.answer.Cluster != "" && f.cluster.Name != f.answer.Cluster:
		return Check{
			State: Error, Hint: "log tctl in to the cluster of that proxy, or correct cluster.proxy_server",
			Message: fmt.Sprintf("%s is a proxy of cluster %s, and tctl speaks to %s", addr, f.answer.Cluster, f.cluster.Name),
		}
	}
	return ok("%s answers, of cluster %s", addr, cmp.Or(f.answer.Cluster, "without a name"))
}

func (f *facts) clusterVersion(context.Context) Check {
	switch v := f.version; {
	case v.IsZero():
		return skipped("neither tctl nor the proxy tells the cluster's version")
	case versions.TooOldForTPM(v):
		return Check{State: Error, Message: fmt.Sprintf("the cluster runs Teleport %s, which does not know the join method tpm", v),
			Hint: "update the cluster: 15.3.0 is the first that does"}
	case !versions.Covered(v):
		return Check{State: Warning, Message: fmt.Sprintf("the cluster runs Teleport %s, which this fleetctl knows nothing certain of", v),
			Hint: "look for a newer fleetctl; docs/compatibility.md says what is known"}
	default:
		return ok("the cluster runs Teleport %s", v)
	}
}

// edition: the tpm join method belongs to Teleport Enterprise, and a cluster refuses tokens and joins without its licence.
func (f *facts) edition(context.Context) Check {
	switch e := f.answer.Edition; e {
	case proxy.EditionEnterprise:
		return ok("Teleport Enterprise")
	case "":
		return skipped("nobody tells it: proxies do from 17.3 on; the join method tpm needs Teleport Enterprise")
	default:
		return Check{State: Error, Hint: outcome.Lookup(outcome.NeedsEnterprise).Do,
			Message: fmt.Sprintf("the cluster is of the edition %s, and the join method tpm needs Teleport Enterprise", e)}
	}
}

// fips: a cluster in FIPS mode does not support the join method tpm.
func (f *facts) fips(context.Context) Check {
	switch {
	case f.answer.FIPS:
		return Check{State: Error, Message: "the cluster runs in FIPS mode, in which Teleport does not support the join method tpm",
			Hint: "use another join method there"}
	case f.answer.Edition == "":
		return skipped("nobody tells it: proxies do from 17.3 on")
	}
	return ok("the cluster does not run in FIPS mode")
}

func (f *facts) clock(context.Context) Check {
	if f.answer.Time.IsZero() {
		return skipped("no proxy tells the time")
	}
	// The proxy's time is of a second, and of some moment while the answer was on its way.
	off := f.here.Sub(f.answer.Time).Round(time.Second)
	slack := f.took + time.Second
	const hint = "set this machine's clock (NTP): dates of certificates are judged by it"
	switch apart := max(off.Abs()-slack, 0); {
	case apart > clockWrong:
		return Check{State: Error, Message: fmt.Sprintf("this clock is %s from the proxy's", off.Abs()), Hint: hint}
	case apart > clockOff:
		return Check{State: Warning, Message: fmt.Sprintf("this clock is %s from the proxy's", off.Abs()), Hint: hint}
	}
	return ok("as the proxy's")
}
