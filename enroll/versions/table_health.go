package versions

// Capabilities of a starting and a running tbot.
const (
	RejoinFailureExits Capability = "start.rejoin_failure_exits"
	ReadyzMeansHealthy Capability = "health.readyz_means_healthy"
	ReadyzMisleads     Capability = "health.readyz_200_after_degraded_start"
	ReadyzSticky       Capability = "health.readyz_sticky_503"
	ReadyzPID          Capability = "health.readyz_pid"
	WaitEndpoint       Capability = "health.wait_endpoint"
)

const (
	readyzSource   = "lib/tbot/readyz@92733783; #55761"
	degradedSource = "lib/tbot/internal/identity/service.go@b2dd8891; lib/tbot/tbot.go@000ebb98"
)

var healthEntries = []Entry{
	{RejoinFailureExits, GroupHealth, "a refused re-join ends tbot",
		"later ones go on with the old identity, even an expired one, if it is of the same token; a first join is always fatal", []Range{
			span("15.0.0", "17.5.2", FromChangelog, "#55820"), span("18.0.0", "18.0.0", FromChangelog, "#55818"),
		}},
	{ReadyzMeansHealthy, GroupHealth, "`/readyz` is 200 only if every service is healthy",
		"before it, it is 200 as soon as it listens, and it listens only after the join", []Range{
			span("17.5.4", "17.x", FromChangelog, "#56306; "+readyzSource), since("18.0.2", FromChangelog, "#56719; "+readyzSource),
		}},
	{ReadyzMisleads, GroupHealth, "`/readyz` is 200 after a refused re-join",
		"tbot goes on with the old identity, and `/readyz` doesn't know of health yet", []Range{
			span("17.5.3", "17.5.3", Inferred, degradedSource), span("18.0.1", "18.0.1", Inferred, degradedSource),
		}},
	{ReadyzSticky, GroupHealth, "`/readyz` stays 503 after a renewal that failed at the start and then succeeded",
		"until the next renewal; none of 17 up to 17.7.16 is said to be cured", []Range{
			span("17.5.4", "17.7.16", FromChangelog, "#65258"), vague("17.7.17", "17.x", "#65258: no backport was found"),
			span("18.0.2", "18.7.6", FromChangelog, "#65258"),
		}},
	{ReadyzPID, GroupHealth, "`/readyz` names the process", "", []Range{
		span("17.7.10", "17.x", FromPR, "#60477"), since("18.4.0", FromPR, "#60477"),
	}},
	{WaitEndpoint, GroupHealth, "`/wait` blocks until the services have reported", "", []Range{since("18.6.4", FromChangelog, "#62719")}},
}
