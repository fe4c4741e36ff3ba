package versions

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestWhatIsTooOldForTPM(t *testing.T) {
	for s, want := range map[string]bool{
		"": false, "14.3.3": true, "15.2.9": true, "15.3.0-rc.1": true, "15.3.0-dev": false, "15.3.0": false, "17.0.0": false,
		"19.0.0-dev": false, "20.0.0": false,
	} {
		if got := TooOldForTPM(v(t, s)); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestTTLKeyIsOneThatTheVersionReads(t *testing.T) {
	for s, want := range map[string]string{
		"": "certificate_ttl", "15.3.0": "certificate_ttl", "17.2.7": "certificate_ttl", "17.2.8": "certificate_ttl",
		"18.99.0": "certificate_ttl", "19.0.0-dev": "credential_ttl", "19.0.0-rc.1": "credential_ttl", "19.0.0": "credential_ttl",
		"20.0.0": "credential_ttl",
	} {
		got := TTLKey(v(t, s))
		if got != want {
			t.Errorf("%q: %s", s, got)
		}
		reads := map[string]Capability{"certificate_ttl": CertificateTTL, "credential_ttl": CredentialTTL}[got]
		if s != "" && !Possibly(reads, v(t, s)) {
			t.Errorf("%q does not read %s", s, got)
		}
	}
}

func TestWhereAServiceMustStand(t *testing.T) {
	types := []string{"identity", "ssh_host", "spiffe-svid", "database-tunnel", "ssh-multiplexer", "spiffe-workload-api", "kubernetes/v2"}
	for s, want := range map[string]string{
		"15.3.0": "ooossss", "15.4.8": "ooossss", "15.4.9": "ooossss", "15.99.0": "ooossss", "16.0.0": "ooossss", "16.0.4": "ooossss",
		"16.1.0-rc.1": "ooossss", "16.1.0": "sssssss", "17.5.3": "sssssss", "19.0.0-dev": "sssssss", "20.0.0": "sssssss", "": "ooossss",
	} {
		got := ""
		for _, k := range outputsKey(v(t, s), types) {
			got += k[:1]
		}
		if got != want {
			t.Errorf("%q: %s, not %s", s, got, want)
		}
	}
}

func TestServiceTypes(t *testing.T) {
	for _, c := range []struct {
		name, version string
		want          TypeStatus
	}{
		{"identity", "15.3.0", TypeKnown}, {"identity", "", TypeKnown}, {"identity", "19.0.0-dev", TypeKnown},
		{"application-tunnel", "15.4.9", TypeTooNew}, {"application-tunnel", "15.4.10", TypeKnown},
		{"application-tunnel", "", TypeUnsure}, {"kubernetes/argo-cd", "17.7.3", TypeTooNew},
		{"kubernetes/argo-cd", "17.7.4", TypeKnown}, {"kubernetes/argo-cd", "18.1.6", TypeTooNew},
		{"kubernetes/argo-cd", "18.1.7", TypeKnown}, {"identity/key-agent", "18.8.2", TypeTooNew},
		{"workload-identity-jwt", "17.2.0", TypeTooNew}, {"workload-identity-jwt", "17.2.3", TypeUnsure},
		{"workload-identity-jwt", "17.2.7", TypeKnown},
		{"identity/key-agent", "20.0.0", TypeKnown}, {"idenity", "17.0.0", TypeUnheard}, {"", "17.0.0", TypeUnheard},
	} {
		if got := ServiceType(c.name, v(t, c.version)); got != c.want {
			t.Errorf("%s in %q: %s, not %s", c.name, c.version, got, c.want)
		}
	}
}

func TestEveryServiceTypeHasItsKeys(t *testing.T) {
	var types []string
	for _, e := range entries {
		if name, ok := strings.CutPrefix(string(e.Capability), typePrefix); ok {
			types = append(types, name)
		}
	}
	slices.Sort(types)
	if have := slices.Sorted(maps.Keys(serviceKeys)); !slices.Equal(types, have) {
		t.Errorf("types %v\nkeys  %v", types, have)
	}
	for _, typ := range types {
		if keys := KnownServiceKeys(typ); !slices.Contains(keys, "type") || len(slices.Compact(slices.Sorted(slices.Values(keys)))) != len(keys) {
			t.Errorf("%s: %v", typ, keys)
		}
	}
	if KnownServiceKeys("idenity") != nil || KnownDestinationKeys("dir") != nil {
		t.Error("a type that nobody heard of has keys")
	}
}

func TestKeysThatNotEveryVersionHas(t *testing.T) {
	for _, c := range []struct {
		typ, key string
		want     Capability
	}{
		{"identity", "name", ServiceName}, {"database-tunnel", "renewal_interval", ServiceTTL}, {"identity", "allow_reissue", IdentityAllowReissue},
		{"ssh_host", "roles", ServiceRoles}, {"identity", "destination", ""}, {"kubernetes_secret", "name", ""},
		{"kubernetes_secret", "context", SecretKubeconfig}, {"directory", "path", ""}, {"idenity", "name", ""},
	} {
		if got := KeyCapability(c.typ, c.key); got != c.want {
			t.Errorf("%s of %s: %q", c.key, c.typ, got)
		}
		_, known := table[c.want]
		if c.want != "" && !known {
			t.Errorf("%s is not in the table", c.want)
		}
	}
	if slices.Contains(KnownServiceKeys("application-proxy"), "credential_ttl") {
		t.Error("application-proxy has a credential_lifetime instead")
	}
}

func TestWhatReadyzMeans(t *testing.T) {
	for s, want := range map[string]ReadyzMeaning{
		"": ReadyzUnknown, "15.3.0": ReadyzListens, "16.4.7": ReadyzListens, "17.5.2": ReadyzListens, "17.5.3": ReadyzDegraded,
		"17.5.4": ReadyzHealthSticky, "17.7.16": ReadyzHealthSticky, "17.7.17": ReadyzHealthSticky, "18.0.0-rc.1": ReadyzListens,
		"18.0.0": ReadyzListens, "18.0.1": ReadyzDegraded, "18.0.2": ReadyzHealthSticky, "18.7.6": ReadyzHealthSticky,
		"18.8.0": ReadyzHealth, "19.0.0-dev": ReadyzHealth, "19.0.0": ReadyzHealth, "20.0.0": ReadyzHealth,
	} {
		m := Readyz(v(t, s))
		if m != want {
			t.Errorf("%q: %s, not %s", s, m, want)
		}
		if m.JoinedBy200() != (m != ReadyzUnknown && m != ReadyzDegraded) || m.TroubleBy503() != (m == ReadyzHealth) {
			t.Errorf("%q: a 200 proves a join: %v, a 503 trouble: %v", s, m.JoinedBy200(), m.TroubleBy503())
		}
	}
}

func TestVersionsThatFit(t *testing.T) {
	for _, c := range []struct{ tbot, cluster, want string }{
		{"17.2.1", "17.5.0", ""}, {"17.7.0", "17.5.0", ""}, {"16.4.0", "17.5.0", ""}, {"19.0.0-dev", "19.0.0", ""}, {"20.1.0", "20.0.0", ""},
		{"15.4.0", "17.5.0", "tbot 15.4.0 is more than one major version older than the cluster (17.5.0): that is not supported"},
		{"18.0.0+ent", "17.5.0", "tbot 18.0.0+ent is newer than the cluster (17.5.0): that is not supported"},
		{"", "17.5.0", ""}, {"17.2.1", "", ""}, {"", "", ""},
	} {
		got := ""
		if err := Compatible(v(t, c.tbot), v(t, c.cluster)); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("tbot %s, cluster %s: %q", c.tbot, c.cluster, got)
		}
	}
}
