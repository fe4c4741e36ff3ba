package enrolltest

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/enrolltest/memcluster"
)

// strictKeys are what a decoder with KnownFields knows, up to 17.2.7.
var strictKeys = map[string][]string{
	"config.BotConfig": {"version", "onboarding", "storage", "outputs", "services", "debug", "auth_server", "proxy_server",
		"certificate_ttl", "renewal_interval", "oneshot", "fips", "diag_addr", "insecure"},
	"config.OnboardingConfig": {"token", "ca_path", "ca_pins", "join_method", "azure", "terraform", "gitlab"},
}

func (b *bot) load(file string) (int, string) {
	loading := "loading bot config from path " + file
	f, _, err := b.s.follow(b.unit.user, file)
	if err == nil && !b.s.may(b.unit.user, f, 4, append(b.unit.more, b.unit.group)...) {
		err = errDenied
	}
	if err != nil {
		return b.fatal(loading, "open "+file+": "+lowerFirst(err.Error()))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(f.Content, &doc); err != nil {
		return b.fatal(loading, "failed parsing config file: "+err.Error())
	}
	if !memcluster.Since(b.version, "17.2.8") && len(doc.Content) > 0 {
		if wrong := unknownKeys(doc.Content[0], "config.BotConfig"); wrong != "" {
			return b.fatal(loading, "failed parsing config file: yaml: unmarshal errors:"+wrong)
		}
	}
	if err := doc.Decode(&b.config); err != nil {
		return b.fatal(loading, "failed parsing config file: "+err.Error())
	}
	for _, service := range b.config.Services {
		if kind := fmt.Sprint(service["type"]); !b.knows(kind) {
			return b.fatal(loading, "failed parsing config file: unrecognized service type ("+kind+")")
		}
	}
	return 0, ""
}

func unknownKeys(n *yaml.Node, kind string) string {
	out := ""
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !slices.Contains(strictKeys[kind], key.Value) {
			out += fmt.Sprintf("  line %d: field %s not found in type %s", key.Line, key.Value, kind)
		}
		if kind == "config.BotConfig" && key.Value == "onboarding" {
			out += unknownKeys(value, "config.OnboardingConfig")
		}
	}
	return out
}

// serviceSince are the service types with the first versions that take them under "services".
var serviceSince = map[string][]string{
	"example": {"15.0.0"}, "spiffe-workload-api": {"15.0.0"}, "database-tunnel": {"15.0.0"}, "ssh-multiplexer": {"15.0.0"},
	"identity": {"15.4.9", "16.1.0"}, "application": {"15.4.9", "16.1.0"}, "database": {"15.4.9", "16.1.0"},
	"kubernetes": {"15.4.9", "16.1.0"}, "ssh_host": {"15.4.9", "16.1.0"}, "spiffe-svid": {"15.4.9", "16.1.0"},
	"application-tunnel": {"15.4.10", "16.1.0"}, "workload-identity-x509": {"17.2.1"}, "workload-identity-api": {"17.2.1"},
	"workload-identity-jwt": {"17.2.7"}, "kubernetes/v2": {"17.2.7"}, "kubernetes/argo-cd": {"17.7.4", "18.1.7"},
	"application-proxy": {"17.7.7", "18.2.3"}, "identity/key-agent": {"18.8.3"},
}

func (b *bot) knows(kind string) bool {
	firsts := serviceSince[kind]
	return firsts != nil && memcluster.Since(b.version, firsts...)
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// checkConfig is CheckAndSetDefaults.
func (b *bot) checkConfig() (int, string) {
	for i, service := range b.config.Services {
		if roles, _ := service["roles"].([]any); len(roles) > 0 && memcluster.Since(b.version, "19.0.0") {
			return b.fatal(fmt.Sprintf("validating service[%d]", i), "roles: the roles field is no longer supported "+
				"and must be removed from your configuration. See https://goteleport.com/docs/reference/"+
				"machine-workload-identity/v19-upgrade-guide/ for further information.")
		}
	}
	if b.config.Proxy == "" && b.config.Auth == "" {
		return b.fatal("either a proxy or auth address must be set using --proxy, --auth-server or configuration")
	}
	return 0, ""
}
