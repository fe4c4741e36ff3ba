package versions

import "slices"

// Since 17.2.8 tbot ignores keys that it doesn't know, and inside services and destinations it always did. So here is
// what it does know, in all versions together: of a key that is in none of these lists, no tbot that was read takes
// notice. A key that is there in some versions alone has a capability (KeyCapability).

// commonKeys are of every service. roles is among them, though not every type had it: 19 refuses it, which is a better
// thing to say than that it is unknown.
var commonKeys = []string{"type", "name", "roles"}

// ttlKeys are of every service but those that withoutTTL names.
var (
	ttlKeys    = []string{"credential_ttl", "renewal_interval"}
	withoutTTL = []string{"workload-identity-aws-roles-anywhere", "application-proxy"}
)

// serviceKeys are the other keys of each type, from the structs of lib/tbot/services and, for older spellings,
// lib/tbot/config.
var serviceKeys = map[string][]string{
	"identity":            {"destination", "cluster", "ssh_config", "allow_reissue", "delegation_session_id"},
	"application":         {"destination", "app_name", "specific_tls_naming", "delegation_session_id"},
	"database":            {"destination", "format", "service", "database", "username"},
	"kubernetes":          {"destination", "kubernetes_cluster", "disable_exec_plugin", "delegation_session_id"},
	"ssh_host":            {"destination", "principals"},
	"spiffe-svid":         {"destination", "svid", "include_federated_trust_bundles", "jwts"},
	"spiffe-workload-api": {"listen", "svids", "attestors", "jwt_svid_ttl"},
	"database-tunnel":     {"listen", "service", "database", "username"},
	"ssh-multiplexer": {"destination", "enable_resumption", "proxy_templates_path", "proxy_command", "relay_addr",
		"relay_server", "custom_mux_command", "custom_mux_subcommand"},
	"application-tunnel":     {"listen", "app_name", "delegation_session_id"},
	"workload-identity-x509": {"destination", "selector", "include_federated_trust_bundles"},
	"workload-identity-jwt":  {"destination", "selector", "audiences"},
	"workload-identity-api":  {"listen", "attestors", "selector", "trust_domains"},
	"kubernetes/v2":          {"destination", "selectors", "disable_exec_plugin", "context_name_template", "relay_server"},
	"workload-identity-aws-roles-anywhere": {"destination", "selector", "role_arn", "profile_arn", "trust_anchor_arn",
		"region", "session_duration", "session_renewal_interval", "credential_profile_name", "artifact_name",
		"overwrite_credential_file"},
	"kubernetes/argo-cd": {"selectors", "secret_namespace", "secret_name_prefix", "secret_labels", "secret_annotations",
		"project", "namespaces", "cluster_resources"},
	"application-proxy":  {"listen", "credential_lifetime"},
	"identity/key-agent": {"destination", "cluster", "allow_reissue", "delegation_session_id"},
}

// destinationKeys are the keys of each type of destination, storage included (lib/tbot/bot/destination/directory.go
// @12f28f2b, lib/tbot/services/k8s/secret_destination.go).
var destinationKeys = map[string][]string{
	"directory":         {"type", "path", "symlinks", "acls", "readers"},
	"memory":            {"type"},
	"kubernetes_secret": {"type", "name", "labels", "namespace", "kubeconfig", "context"},
}

// KnownServiceKeys are the keys that any tbot reads in a service of a type; nil for a type that the table doesn't have.
func KnownServiceKeys(typ string) []string {
	own, ok := serviceKeys[typ]
	if !ok {
		return nil
	}
	if slices.Contains(withoutTTL, typ) {
		return slices.Concat(commonKeys, own)
	}
	return slices.Concat(commonKeys, ttlKeys, own)
}

// KnownDestinationKeys are the keys that any tbot reads in a destination of a type; nil for an unknown type.
func KnownDestinationKeys(typ string) []string { return slices.Clone(destinationKeys[typ]) }

// keyCapabilities are the keys of services and destinations that not every version has.
var keyCapabilities = map[string]map[string]Capability{
	"":                  {"name": ServiceName, "roles": ServiceRoles, "credential_ttl": ServiceTTL, "renewal_interval": ServiceTTL},
	"identity":          {"allow_reissue": IdentityAllowReissue},
	"kubernetes_secret": {"namespace": SecretNamespace, "kubeconfig": SecretKubeconfig, "context": SecretKubeconfig},
}

// KeyCapability is the capability that a tbot needs to read a key of a service or destination of a type; "" if every
// version that knows the type reads it, or if nothing is known of it.
func KeyCapability(typ, key string) Capability {
	if c, ok := keyCapabilities[typ][key]; ok {
		return c
	}
	if _, isService := serviceKeys[typ]; isService {
		return keyCapabilities[""][key]
	}
	return ""
}
