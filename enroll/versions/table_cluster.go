package versions

// Capabilities of the cluster and of tctl.
const (
	TPMJoin                   Capability = "server.tpm_join"
	SerialOnlyRule            Capability = "server.serial_only_rule_creatable"
	RefusesOldClients         Capability = "server.refuses_old_clients"
	TokenUnknownFieldsRefused Capability = "tctl.token_unknown_fields_refused"
	BotInstance               Capability = "tctl.bot_instance.exists"
	BotInstanceTimes          Capability = "tctl.bot_instance.times_rfc3339"
	JoinAttrs                 Capability = "tctl.bot_instance.join_attrs"
	ToolsSelfUpdate           Capability = "tctl.self_update_possible"
)

const botInstanceProto = "bot_instance.proto@09690ede"

var clusterEntries = []Entry{
	{TPMJoin, GroupCluster, "the tpm join method", "of tbot and of the cluster; needs Teleport Enterprise", []Range{
		since("15.3.0", FromSource, "api/types/provisioning.go"),
	}},
	{SerialOnlyRule, GroupCluster, "a rule may name an EK certificate's serial alone, without CAs",
		"tokens that have one keep working later", []Range{span("15.3.0", "18.10.0", Inferred, "#67960, #68826")}},
	{RefusesOldClients, GroupCluster, "the cluster refuses clients two majors older", "", []Range{
		since("16.0.0", FromChangelog, "CHANGELOG of 16.0.0"),
	}},
	{TokenUnknownFieldsRefused, GroupCluster, "`tctl create` refuses unknown fields of a token", "before it, it drops them", []Range{
		since("18.0.0", Inferred, "tool/tctl: DisallowUnknown"),
	}},
	{BotInstance, GroupCluster, "`tctl get bot_instance`", "", []Range{since("16.4.6", FromChangelog, "#47225")}},
	{BotInstanceTimes, GroupCluster, "times of bot_instance are RFC 3339 strings",
		"before it, they are objects of seconds and nanos", []Range{
			vague("16.4.8", "16.x", "#55164: in a release of 16 that was not read"), since("17.5.1", FromChangelog, "#55163"),
		}},
	{JoinAttrs, GroupCluster, "bot_instance has `join_attrs`", "the EKPub hash is in it", []Range{
		vague("16.4.8", "16.x", "#50981: in a release of 16 that was not read"),
		since("17.2.0", Inferred, "#50980; "+botInstanceProto),
	}},
	{ToolsSelfUpdate, GroupCluster, "tctl may replace itself by the cluster's version", "TELEPORT_TOOLS_VERSION=off stops it", []Range{
		since("15.4.24", FromChangelog, "#48648, #57147"),
	}},
}

// Capabilities of Teleport's own updater.
const (
	Updater              Capability = "updater.exists_from"
	UpdaterManagesTbot   Capability = "updater.manages_tbot"
	UpdaterHeaderVersion Capability = "updater.header_has_version_from"
)

var updaterEntries = []Entry{
	{Updater, GroupUpdater, "teleport-update and its packages", "/opt/teleport, links in /usr/local/bin", []Range{
		since("17.3.0", FromChangelog, "CHANGELOG of 17.3.0; setup.go@dc41dd48"),
	}},
	{UpdaterManagesTbot, GroupUpdater, "teleport-update makes and manages tbot.service", "not in 17", []Range{
		since("18.4.0", FromChangelog, "#60478, #61198"),
	}},
	{UpdaterHeaderVersion, GroupUpdater, "the first line of teleport-update's files has its version", "", []Range{
		span("17.7.4", "17.x", FromChangelog, "#56578"), since("18.1.1", FromChangelog, "#56577"),
	}},
}
