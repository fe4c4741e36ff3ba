package versions

// typePrefix begins the capabilities that are service types.
const typePrefix = "config.service_types."

// TypeCapability is the capability that a service type of tbot.yaml is.
func TypeCapability(name string) Capability { return Capability(typePrefix + name) }

func serviceType(name, note string, ranges ...Range) Entry {
	return Entry{TypeCapability(name), GroupType, "`" + name + "`", note, ranges}
}

const (
	firstTypes  = "config version v2 of 14; " + configOld
	spiffeNote  = "to be removed in 19 (#56278, open)"
	workloadPRs = "#51054, #51161, #51288"
)

var typeEntries = []Entry{
	serviceType("identity", "", since("14.0.0", FromChangelog, firstTypes)),
	serviceType("application", "", since("14.0.0", FromChangelog, firstTypes)),
	serviceType("database", "", since("14.0.0", FromChangelog, firstTypes)),
	serviceType("kubernetes", "", since("14.0.0", FromChangelog, firstTypes)),
	serviceType("ssh_host", "", since("14.0.0", FromChangelog, firstTypes)),
	serviceType("spiffe-svid", spiffeNote, since("15.0.0", Inferred, "#38619")),
	serviceType("spiffe-workload-api", spiffeNote, since("15.0.0", Inferred, "#38619")),
	serviceType("database-tunnel", "", since("15.0.0", Inferred, configOld)),
	serviceType("ssh-multiplexer", "", since("15.0.0", Inferred, configOld)),
	serviceType("application-tunnel", "", since("15.4.10", FromChangelog, "#44446")),
	serviceType("workload-identity-x509", "", vague("17.2.1", "17.2.6", workloadPRs), since("17.2.7", Inferred, workloadPRs)),
	serviceType("workload-identity-jwt", "", vague("17.2.1", "17.2.6", workloadPRs), since("17.2.7", Inferred, workloadPRs)),
	serviceType("workload-identity-api", "", vague("17.2.1", "17.2.6", workloadPRs), since("17.2.7", Inferred, workloadPRs)),
	serviceType("kubernetes/v2", "", since("17.2.7", FromChangelog, "#51535")),
	serviceType("workload-identity-aws-roles-anywhere", "", since("17.4.0", FromChangelog, "#53408")),
	serviceType("kubernetes/argo-cd", "",
		span("17.7.4", "17.x", FromChangelog, "#58567"), since("18.1.7", FromChangelog, "#58200")),
	serviceType("application-proxy", "",
		span("17.7.7", "17.x", FromChangelog, "#59588"), since("18.2.3", FromChangelog, "#59587")),
	serviceType("identity/key-agent", "", since("18.8.3", FromChangelog, "#66701")),
}
