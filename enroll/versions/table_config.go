package versions

// Capabilities of tbot.yaml, configuration version v2.
const (
	StrictTopLevel       Capability = "config.strict_top_level"
	CertificateTTL       Capability = "config.keys.certificate_ttl"
	CredentialTTL        Capability = "config.keys.credential_ttl"
	LongTTL              Capability = "config.long_ttl"
	JoinURI              Capability = "config.keys.join_uri"
	Scoped               Capability = "config.keys.scoped"
	ServicesTakeOutputs  Capability = "config.services_list_takes_outputs"
	AuthServerMayBeProxy Capability = "config.auth_server_may_be_proxy"
	AuthServerProxyWarns Capability = "config.auth_server_may_be_proxy.warn_from"
	ServiceRoles         Capability = "config.service_roles"
	ServiceName          Capability = "config.service_name"
	ServiceTTL           Capability = "config.service_ttl"
	IdentityAllowReissue Capability = "config.identity_allow_reissue"
	SecretNamespace      Capability = "config.destinations.kubernetes_secret.namespace_from"
	SecretKubeconfig     Capability = "config.destinations.kubernetes_secret.kubeconfig_from"
)

const (
	configOld   = "lib/tbot/config/config.go@018e587b"
	configNew   = "lib/tbot/config/config.go@bae8e6f9"
	rolesCheck  = "lib/tbot/internal/deprecated_roles.go@cee0411a"
	bothLists   = "#43883, #43876; " + configNew
	proxyAsAuth = "lib/tbot/client; #55820, #55818"
)

var configEntries = []Entry{
	{StrictTopLevel, GroupConfig, "an unknown key at the top or in `onboarding` ends tbot",
		"later ones ignore a mistyped key anywhere without a word; keys inside services were never checked", []Range{
			span("15.0.0", "17.2.7", FromSource, configOld+"; ended by "+configNew),
		}},
	{CertificateTTL, GroupConfig, "`certificate_ttl`", "from 17.2.8 on with a warning; whether 19 drops it is not known", []Range{
		since("14.0.0", FromSource, configOld+", "+configNew),
	}},
	{CredentialTTL, GroupConfig, "`credential_ttl`", "", []Range{since("17.2.8", FromChangelog, "#52185; "+configNew)}},
	{LongTTL, GroupConfig, "a TTL above 24 h, up to the 7 d that the bot may have", "elsewhere the server cuts it", []Range{
		since("17.4.5", FromChangelog, "#54063"),
	}},
	{JoinURI, GroupConfig, "`join_uri`", "", []Range{since("18.3.0", Inferred, "lib/tbot/config/joinuri")}},
	{Scoped, GroupConfig, "`scoped`", "only identity services work with it", []Range{since("18.8.0", Inferred, "#65351, #65970")}},
	{ServicesTakeOutputs, GroupConfig, "`services` takes every type",
		"before it, identity, application, database, kubernetes, ssh_host and spiffe-svid must stand under `outputs`", []Range{
			span("15.4.9", "15.x", Inferred, bothLists), since("16.1.0", FromChangelog, bothLists),
		}},
	{AuthServerMayBeProxy, GroupConfig, "`auth_server` may be a proxy", "", []Range{span("14.0.0", "18.x", FromSource, proxyAsAuth)}},
	{AuthServerProxyWarns, GroupConfig, "a proxy as `auth_server` gets a warning, and tbot ends if it is down", "", []Range{
		span("17.5.3", "17.x", FromSource, proxyAsAuth), span("18.0.1", "18.x", FromSource, proxyAsAuth),
	}},
	{ServiceRoles, GroupConfig, "`roles` of a service", "19 refuses to start with one", []Range{
		span("14.0.0", "18.x", FromSource, rolesCheck),
	}},
	{ServiceName, GroupConfig, "`name` of a service", "URL-safe, and unique", []Range{
		span("17.5.4", "17.x", FromChangelog, "#56306"), since("18.0.2", FromChangelog, "#56719"),
	}},
	{ServiceTTL, GroupConfig, "`credential_ttl` and `renewal_interval` of a service", "both or neither", []Range{
		since("17.2.8", FromChangelog, "#52185; "+configNew),
	}},
	{IdentityAllowReissue, GroupConfig, "`allow_reissue` of an identity", "", []Range{
		since("17.2.8", FromChangelog, "CHANGELOG of 17.2.8"),
	}},
	{SecretNamespace, GroupConfig, "`namespace` of a kubernetes_secret", "", []Range{
		span("17.7.3", "17.x", FromChangelog, "#58553"), since("18.1.7", FromChangelog, "#58203"),
	}},
	{SecretKubeconfig, GroupConfig, "`kubeconfig` and `context` of a kubernetes_secret", "", []Range{
		since("18.6.5", FromChangelog, "#63037"),
	}},
}
